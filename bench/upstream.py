"""One nginx that every proxy has behind it: small answers, large files, and uploads that it reads to the end."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.programs import program
from tests.instance import fetch, free_port, wait_for

SMALL_BYTES = 200
MEBIBYTE = 1024 * 1024
FILES = {"/1m": MEBIBYTE, "/100m": 100 * MEBIBYTE}
FORWARDED = "/forwarded"
# Files and uploads lie in memory where there is room for them: no disk between the proxies and their figures.
_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 2 * 1024 * MEBIBYTE

_CONFIGURATION = """
{user}
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    default_type text/plain;
    sendfile on;
    tcp_nopush on;
    keepalive_timeout 300s;
    keepalive_requests 100000000;
    client_max_body_size 0;
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        root {folder}/www;
        location = / {{ return 200 "{small}"; }}
        location = {forwarded} {{
            return 200 "$http_x_forwarded_for $http_x_forwarded_proto $http_x_forwarded_host";
        }}
        # PUT answers when the whole body has come, as an application does.
        location /up/ {{ dav_methods PUT; create_full_put_path on; }}
    }}
}}
"""


@contextlib.contextmanager
def upstream() -> Iterator[int]:
    """Run it; gives its port."""
    roomy = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM_BYTES
    with tempfile.TemporaryDirectory(prefix="rivetr-bench-", dir=_MEMORY if roomy else None) as name:
        folder, port = Path(name), free_port()
        (folder / "www" / "up").mkdir(parents=True)
        for path, size in FILES.items():
            with (folder / "www" / path[1:]).open("wb") as file:
                for _ in range(size // MEBIBYTE):
                    file.write(os.urandom(MEBIBYTE))
        configuration = _CONFIGURATION.format(
            folder=folder, port=port, small="x" * SMALL_BYTES, user=nginx_user(), forwarded=FORWARDED
        )
        with running_nginx(folder, configuration):
            wait_for(lambda: _answers(port), what="the upstream to answer")
            yield port


def nginx_user() -> str:
    """nginx's workers would give root up, and then could not write into our folders."""
    return "user root;" if os.geteuid() == 0 else ""


@contextlib.contextmanager
def running_nginx(folder: Path, configuration: str) -> Iterator[subprocess.Popen[bytes]]:
    """An nginx in the foreground, ended afterwards."""
    file = folder / "nginx.conf"
    file.write_text(configuration)
    argv = [program("nginx"), "-c", str(file), "-e", str(folder / "error.log"), "-p", str(folder), "-g", "daemon off;"]
    with running(argv, folder) as process:
        yield process


@contextlib.contextmanager
def running(
    argv: list[str], folder: Path, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A server in the foreground, what it says in `folder`/log; ended afterwards."""
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(argv, cwd=folder, stdout=log, stderr=log, env={**os.environ, **(environment or {})})
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _answers(port: int) -> bool:
    try:
        return fetch(port).status == 200
    except OSError:
        return False
