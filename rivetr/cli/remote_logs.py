"""`logs`: what an app's containers write."""

import sys

import click

from rivetr.cli import follow, instance
from rivetr.cli.client import Client
from rivetr.cli.output import json_option, say, say_json


@click.command(help="Print what APP's running containers wrote.")
@click.argument("app")
@click.option("--follow", "-f", "is_followed", is_flag=True, help="Begin with the last lines and go on until Ctrl-C.")
@click.option("--lines", "-n", type=click.IntRange(min=1), help="How many of the last lines; 200 unless given.")
@json_option
def logs(app: str, is_followed: bool, lines: int | None, as_json: bool) -> None:
    if is_followed and lines is not None:
        raise click.UsageError("--lines goes without --follow, which begins with the last 100 lines of each container.")
    client = instance.connect()
    if is_followed:
        _follow(client, app, as_json)
        return
    query = {} if lines is None else {"lines": lines}
    # Only a line feed ends a line: str.splitlines would break at form feeds and such, too.
    written = client.text("apps", app, "logs", **query).removesuffix("\n")
    for line in written.split("\n") if written else []:
        if as_json:
            say_json({"line": line})
        else:
            say(line)


def _follow(client: Client, app: str, as_json: bool) -> None:
    try:
        for message in follow.app_log(client, app):
            if as_json:
                say_json(message)
            else:
                say(str(message.get("line")))
    except KeyboardInterrupt:
        # The usual way to stop following; nothing has gone wrong.
        sys.exit(0)
