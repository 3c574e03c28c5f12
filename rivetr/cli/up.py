"""`rivetr up`: web, worker and proxy in the foreground under one light parent, and a newcomer's first app."""

import importlib
import json
import logging
import os
import socket
import sys

import click

from rivetr import bootstrap, config, shell
from rivetr.cli import processes
from rivetr.errors import Misconfigured
from rivetr.supervisor import Child, Supervisor

# Where to look for a free port when nobody chose one and the usual one is taken or not ours to take.
_FALLBACK = {"api_port": 8080, "proxy_port": 8000, "proxy_https_port": 8443}


@click.command(help="Run web, worker and proxy in the foreground; Ctrl-C ends all three.")
def up() -> None:
    if not sys.flags.optimize:
        # Docstrings are for readers; without them the processes are smaller.
        os.execv(sys.executable, [sys.executable, "-OO", "-m", "rivetr", "up"])  # noqa: S606
    settings = _choose_ports(config.load())
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", level=settings.logging.level.upper())
    bootstrap.start(settings, with_database=False)
    # Ours, so that they outlive each proxy: while one is replaced, connections wait instead of being refused.
    listeners = processes.listen(settings)
    _say_where(settings)
    _first_steps()
    _load_what_children_share()
    children = [
        *processes.proxy_children(settings, listeners),
        Child("web", processes.run_web),
        Child("worker", processes.run_worker),
    ]
    Supervisor(children).run()
    click.echo("Ended. App containers go on running; 'up' serves them again.")


def _choose_ports(settings: config.Settings) -> config.Settings:
    """Settle on free ports, tell our children through the environment, and say so."""
    taken: set[int] = set()
    for key, fallback in _FALLBACK.items():
        wanted = getattr(settings.server, key)
        is_explicit = f"server.{key}" in settings.explicit
        port = wanted if _is_free(settings.server.host, wanted, taken) else None
        if port is None and is_explicit:
            raise Misconfigured(f"Port {wanted} is taken or may not be used: free it, or change server.{key}.")
        port = port or _next_free(settings.server.host, fallback, taken)
        taken.add(port)
        os.environ[f"RIVETR_SERVER__{key.upper()}"] = str(port)
    return config.load()


def _next_free(host: str, first: int, taken: set[int]) -> int:
    for port in range(first, first + 1000):
        if _is_free(host, port, taken):
            return port
    raise Misconfigured(f"No port from {first} to {first + 999} is free.")


def _is_free(host: str, port: int, taken: set[int]) -> bool:
    if port in taken:
        return False
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def _say_where(settings: config.Settings) -> None:
    server = settings.server
    click.echo(f"Dashboard   {settings.dashboard_url}")
    click.echo(f"Apps        http on port {server.proxy_port}, https on port {server.proxy_https_port}")
    click.echo(f"Data        {settings.data_dir}")
    # For the command line on this machine, which otherwise would not know a port that we had to choose.
    (settings.data_dir / "address.json").write_text(json.dumps({"url": f"http://127.0.0.1:{server.api_port}"}))


def _first_steps() -> None:
    """Migrating is done; make the set-up link, the admin token and the example in a process that then ends."""
    done = shell.run(shell.python("rivetr.first_steps"), timeout=120)
    if done.status != 0:
        raise Misconfigured(done.output.strip())
    click.echo(done.output, nl=False)


def _load_what_children_share() -> None:
    """Whatever two or more children need is loaded once, before they are forked."""
    for module in ("sqlite3", "ssl", "gevent", "huey.api"):
        importlib.import_module(module)
