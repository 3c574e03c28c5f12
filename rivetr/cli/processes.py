"""`web`, `worker`, `proxy`, `migrate`: one process each, for those who run their own supervisor (systemd)."""

import os
import runpy
import socket
import sys
from collections.abc import Sequence
from functools import partial

import click

from rivetr import config
from rivetr.errors import Misconfigured
from rivetr.supervisor import Child, Supervisor


def run_web() -> None:
    """Be the control plane until a signal ends it."""
    # gunicorn.conf.py reads the environment only: it must not import us.
    os.environ["RIVETR_SERVER__API_PORT"] = str(config.load().server.api_port)
    os.environ["RIVETR_SERVER__HOST"] = config.load().server.host
    from rivetr.cli.web_server import serve

    serve()


def run_worker() -> None:
    """Be the worker until a signal ends it."""
    from rivetr import worker

    worker.main()


def run_proxy(listeners: Sequence[int] = ()) -> None:
    """Be the proxy; it is a package of its own that we start but never import.

    `listeners` are the descriptors of sockets that listen already, for HTTP and HTTPS.
    """
    settings = config.load()
    settings.prepare_data_dir()
    inherited = [part for pair in zip(_LISTENER_OPTIONS, map(str, listeners), strict=False) for part in pair]
    sys.argv = ["proxy", *proxy_arguments(settings), *inherited]
    runpy.run_module("proxy", run_name="__main__", alter_sys=True)


_LISTENER_OPTIONS = ("--listen-fd", "--listen-tls-fd")


def proxy_children(settings: config.Settings, listeners: Sequence[socket.socket]) -> list[Child]:
    """As many proxies as the settings want; they share `listeners`, so that none of them is missed when it dies."""
    descriptors = [listener.fileno() for listener in listeners]
    names = ["proxy", *(f"proxy-{number}" for number in range(2, settings.proxy.workers + 1))]
    return [Child(name, partial(run_proxy, descriptors), is_replaceable=True) for name in names]


def listen(settings: config.Settings) -> list[socket.socket]:
    """Open the proxy's sockets. Raises `Misconfigured` when a port is taken or not ours to take."""
    server, opened = settings.server, []
    for key in ("proxy_port", "proxy_https_port"):
        address = (server.host, getattr(server, key))
        family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
        try:
            opened.append(socket.create_server(address, family=family, backlog=_BACKLOG))
        except OSError as error:
            raise Misconfigured(
                f"Port {address[1]} cannot be opened ({error.strerror}): free it, or change server.{key}."
            ) from None
    return opened


_BACKLOG = 4096


def proxy_arguments(settings: config.Settings) -> list[str]:
    """The proxy's command line for these settings."""
    trusted = [part for network in settings.proxy.trusted_proxies for part in ("--trusted-proxy", network)]
    return [
        "--routes", str(settings.routes_database),
        "--state", str(settings.proxy_database),
        "--host", settings.server.host,
        "--http-port", str(settings.server.proxy_port),
        "--drain-timeout", str(settings.deploy.drain_timeout),
        "--log-level", settings.logging.level,
        *_tls_arguments(settings),
        *trusted,
        *_tuning(settings.proxy),
    ]  # fmt: skip


# Settings whose option has the same name.
_TUNABLE = (
    "header_timeout", "idle_timeout", "body_timeout", "connect_timeout", "first_byte_timeout", "stream_timeout",
    "max_head_bytes", "max_fields", "max_request_line", "max_body_bytes", "max_connections",
    "max_connections_per_client", "access_log", "access_log_format",
)  # fmt: skip


def _tuning(proxy: config.Proxy) -> list[str]:
    """Options for what differs from the proxy's own defaults, which are ours too."""
    defaults = config.Proxy()
    changed = [name for name in _TUNABLE if getattr(proxy, name) != getattr(defaults, name)]
    options = [part for name in changed for part in (f"--{name.replace('_', '-')}", str(getattr(proxy, name)))]
    return options + (["--proxy-protocol"] if proxy.proxy_protocol else [])


def _tls_arguments(settings: config.Settings) -> list[str]:
    from rivetr.issuers.selfsigned import ensure_default

    chain, key = ensure_default(settings.data_dir / "certificates")
    return [
        "--https-port",
        str(settings.server.proxy_https_port),
        "--default-cert",
        str(chain),
        "--default-key",
        str(key),
    ]


@click.command(help="Run the control plane (gunicorn) in the foreground.")
def web() -> None:
    run_web()


@click.command(help="Run the worker in the foreground.")
def worker() -> None:
    run_worker()


@click.command(help="Run the proxy in the foreground; SIGHUP replaces it without losing a connection.")
def proxy() -> None:
    settings = config.load()
    Supervisor(proxy_children(settings, _activated() or listen(settings))).run()


def _activated() -> list[socket.socket]:
    """Sockets that systemd opened for us (sd_listen_fds(3)): HTTP, then HTTPS."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    return [socket.socket(fileno=_FIRST_ACTIVATED + n) for n in range(int(os.environ.get("LISTEN_FDS", "0")))]


_FIRST_ACTIVATED = 3


@click.command(help="Bring the database up to date.")
def migrate() -> None:
    from rivetr import bootstrap

    settings = config.load()
    bootstrap.start(settings, with_database=False)
    click.echo(f"{settings.database} is up to date (schema {bootstrap.SCHEMA_HEAD}).")
