"""`routes`: which host leads where."""

import click

from rivetr.cli import instance
from rivetr.cli.output import json_option, say_json, say_table


@click.command(help="List the routes: which host leads to which backends.")
@json_option
def routes(as_json: bool) -> None:
    items = instance.connect().items("routes")
    if as_json:
        say_json({"items": items, "next": None})
        return
    rows: list[list[object]] = [
        [item.get("domain"), item.get("path_prefix"), item.get("app"), ", ".join(map(str, item.get("backends") or []))]
        for item in items
    ]
    say_table(["DOMAIN", "PATH", "APP", "BACKENDS"], rows, "There are no routes.")
