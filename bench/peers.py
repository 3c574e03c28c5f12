"""The proxies that are compared: one worker or one core's worth of threads each, the same forwarding fields.

None of them writes an access log, all keep connections to the upstream, and all look the host up.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from subprocess import Popen

from bench.ours import Ours, running_ours
from bench.programs import program
from bench.upstream import FORWARDED, nginx_user, running, running_nginx
from tests.instance import fetch, free_port, wait_for

RIVETR = "rivetr"
HOST = "bench.test"
START_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class Setting:
    """What a proxy is started with: its folder, its port, the upstream's, and the hosts that it routes there."""

    folder: Path
    port: int
    upstream: int
    hosts: Sequence[str]


@dataclass(frozen=True, slots=True)
class Standing:
    """A proxy that answers; `ours` when it is ours."""

    name: str
    pid: int
    port: int
    ours: Ours | None = None


@contextlib.contextmanager
def standing(name: str, folder: Path, upstream: int, hosts: Sequence[str] = (HOST,)) -> Iterator[Standing]:
    """Start the proxy `name` in a folder of its own; it is checked to route and to forward alike."""
    place = folder / f"{name}-{free_port()}"
    place.mkdir()
    if name == RIVETR:
        with running_ours(place, upstream, hosts) as ours:
            _check(name, ours.port, hosts)
            yield Standing(name, ours.pid, ours.port, ours)
        return
    setting = Setting(place, free_port(), upstream, hosts)
    with _STARTS[name](setting) as process:
        wait_for(lambda: process.poll() is not None or _answers(setting.port, hosts[-1]), START_SECONDS, name)
        assert process.poll() is None, f"{name} ended: {(place / 'log').read_text()[-2000:]}"
        _check(name, setting.port, hosts)
        yield Standing(name, process.pid, setting.port)


def _answers(port: int, host: str) -> bool:
    try:
        return fetch(port, host=host).status == 200
    except (OSError, HTTPException):
        return False


def _check(name: str, port: int, hosts: Sequence[str]) -> None:
    for host in (hosts[0], hosts[-1]):
        answer = fetch(port, FORWARDED, host)
        wanted = f"127.0.0.1 http {host}"
        assert (answer.status, answer.text) == (200, wanted), f"{name} forwards {answer.status} {answer.text!r}"


_NGINX = """
{user}
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    client_max_body_size 0;
    client_body_temp_path {folder}/bodies; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server_names_hash_max_size 131072;
    upstream up {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 100000000; }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Host $http_host;
    # Bodies stream, as they do through the others: no temporary files.
    proxy_request_buffering off;
    proxy_max_temp_file_size 0;
    {buffers}
    server {{ listen 127.0.0.1:{port} default_server backlog=4096; return 404; }}
    {servers}
}}
"""


@contextlib.contextmanager
def _nginx(setting: Setting, buffers: str = "") -> Iterator[Popen[bytes]]:
    servers = "\n".join(
        f"server {{ listen 127.0.0.1:{setting.port}; server_name {host}; location / {{ proxy_pass http://up; }} }}"
        for host in setting.hosts
    )
    configuration = _NGINX.format(
        folder=setting.folder,
        port=setting.port,
        upstream=setting.upstream,
        user=nginx_user(),
        servers=servers,
        buffers=buffers,
    )
    with running_nginx(setting.folder, configuration) as process:
        yield process


def _nginx_large(setting: Setting) -> AbstractContextManager[Popen[bytes]]:
    return _nginx(setting, "proxy_buffer_size 64k; proxy_buffers 16 64k; proxy_busy_buffers_size 128k;")


_HAPROXY = """
global
    nbthread 1
    maxconn 8000
defaults
    mode http
    timeout connect 5s
    timeout client 75s
    timeout server 60s
    timeout http-keep-alive 75s
    option forwardfor
    # The default, safe, opens an upstream connection for each new client connection.
    http-reuse always
frontend web
    bind 127.0.0.1:{port} backlog 4096
    http-request set-header X-Forwarded-Proto http
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    use_backend %[req.hdr(host),lower,map({folder}/hosts.map)]
backend up
    server one 127.0.0.1:{upstream}
"""


@contextlib.contextmanager
def _haproxy(setting: Setting) -> Iterator[Popen[bytes]]:
    file = setting.folder / "haproxy.cfg"
    (setting.folder / "hosts.map").write_text("".join(f"{host} up\n" for host in setting.hosts))
    file.write_text(_HAPROXY.format(folder=setting.folder, port=setting.port, upstream=setting.upstream))
    with running([program("haproxy"), "-db", "-f", str(file)], setting.folder) as process:
        yield process


_CADDY = """{
    admin off
    auto_https off
    persist_config off
    default_bind 127.0.0.1
    log {
        level ERROR
    }
}
"""


@contextlib.contextmanager
def _caddy(setting: Setting) -> Iterator[Popen[bytes]]:
    sites = (
        f"http://{host}:{setting.port} {{\n    reverse_proxy 127.0.0.1:{setting.upstream} {{\n"
        "        transport http {\n            keepalive_idle_conns_per_host 64\n        }\n    }\n}\n"
        for host in setting.hosts
    )
    file = setting.folder / "Caddyfile"
    file.write_text(_CADDY + "".join(sites))
    argv = [program("caddy"), "run", "--config", str(file), "--adapter", "caddyfile"]
    home = {"HOME": str(setting.folder), "XDG_DATA_HOME": str(setting.folder), "XDG_CONFIG_HOME": str(setting.folder)}
    with running(argv, setting.folder, {**home, "GOMAXPROCS": "1"}) as process:
        yield process


@contextlib.contextmanager
def _traefik(setting: Setting) -> Iterator[Popen[bytes]]:
    routers = {
        f"r{number}": {"rule": f"Host(`{host}`)", "service": "up", "entryPoints": ["web"]}
        for number, host in enumerate(setting.hosts)
    }
    service = {"loadBalancer": {"servers": [{"url": f"http://127.0.0.1:{setting.upstream}"}]}}
    file = setting.folder / "dynamic.yml"
    # JSON is YAML.
    file.write_text(json.dumps({"http": {"routers": routers, "services": {"up": service}}}))
    argv = [
        program("traefik"),
        f"--entryPoints.web.address=127.0.0.1:{setting.port}",
        f"--providers.file.filename={file}",
        "--providers.file.watch=false",
        "--log.level=ERROR",
        "--global.checkNewVersion=false",
        "--global.sendAnonymousUsage=false",
    ]
    with running(argv, setting.folder, {"GOMAXPROCS": "1"}) as process:
        yield process


_STARTS: dict[str, Callable[[Setting], AbstractContextManager[Popen[bytes]]]] = {
    "nginx": _nginx,
    "nginx-64k": _nginx_large,
    "haproxy": _haproxy,
    "caddy": _caddy,
    "traefik": _traefik,
}
PROGRAMS = {"nginx": "nginx", "nginx-64k": "nginx", "haproxy": "haproxy", "caddy": "caddy", "traefik": "traefik"}
PEERS = tuple(_STARTS)
