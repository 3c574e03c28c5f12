"""The command line: processes of this machine's instance, and a client of any running one."""

import importlib
import io
import os
import sys
from typing import Any

import click

from rivetr.cli.output import note
from rivetr.errors import RivetrError

# Command → module that holds it, so that starting one loads only what it needs.
_COMMANDS = {
    "up": "up",
    "web": "processes",
    "worker": "processes",
    "proxy": "processes",
    "migrate": "processes",
    "doctor": "doctor",
    "token": "accounts",
    "user": "accounts",
    "apps": "remote_apps",
    "deploy": "remote_deployments",
    "logs": "remote_logs",
    "env": "remote_env",
    "rollback": "remote_deployments",
    "routes": "remote_routes",
    "status": "remote_apps",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module = importlib.import_module(f"rivetr.cli.{_COMMANDS[name]}")
        command: click.Command = getattr(module, name)
        return command


@click.group(cls=_LazyGroup, help="Rivetr turns a Git push into a running container on your own machine.")
@click.option("--config", "file", metavar="FILE", help="Read settings from FILE instead of ./rivetr.toml.")
@click.version_option(package_name=None, version=__import__("rivetr").__version__, prog_name="rivetr")
def _group(file: str | None) -> None:
    if file:
        # Every process that we start reads the same settings.
        os.environ["RIVETR_CONFIG"] = os.path.abspath(file)


def main(arguments: Any = None) -> None:
    """Run a command; an error that we foresaw is one sentence and exit status 1."""
    for stream in (sys.stdout, sys.stderr):
        # A line that this terminal's encoding cannot show must not end the command.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        _group(arguments)
    except RivetrError as error:
        note(f"rivetr: {error.message}")
        sys.exit(1)
