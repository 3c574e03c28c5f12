"""`env list|set|unset`: an app's environment variables."""

import sys

import click

from rivetr.cli import instance
from rivetr.cli.output import json_option, say, say_json, say_table

_LATER = "Its containers see it with the next deployment or restart."


@click.group(help="An app's environment variables.")
def env() -> None:
    pass


@env.command("list", help="List APP's variables; the value of a secret is never shown.")
@click.argument("app")
@json_option
def list_variables(app: str, as_json: bool) -> None:
    items = instance.connect().items("apps", app, "env-vars")
    if as_json:
        say_json({"items": items, "next": None})
        return
    rows = [[item.get("key"), "(secret)" if item.get("is_secret") else item.get("value")] for item in items]
    say_table(["KEY", "VALUE"], rows, f"{app} has no variables.")


@env.command("set", help="Set variables of APP; KEY=- reads the value from standard input.")
@click.argument("app")
@click.argument("assignments", metavar="KEY=VALUE...", nargs=-1, required=True)
@click.option("--secret/--no-secret", default=None, help="Never show the value again; kept as it is unless given.")
@json_option
def set_variables(app: str, assignments: tuple[str, ...], secret: bool | None, as_json: bool) -> None:
    wanted = _parsed(assignments)
    client = instance.connect()
    secrets = {item.get("key") for item in client.items("apps", app, "env-vars") if item.get("is_secret")}
    for key, value in wanted.items():
        # A new value must not make public what somebody once called a secret.
        is_secret = key in secrets if secret is None else secret
        stored = client.put("apps", app, "env-vars", key, body={"value": value, "is_secret": is_secret})
        if as_json:
            say_json(stored)
        else:
            say(f"Set {key}.")
    if not as_json:
        say(_LATER)


def _parsed(assignments: tuple[str, ...]) -> dict[str, str]:
    wanted: dict[str, str] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not key or not equals:
            # The whole text may be a secret that lost its name: it is not repeated.
            raise click.UsageError("Write each variable as KEY=VALUE, or KEY=- to read its value from standard input.")
        if key in wanted:
            raise click.UsageError(f"{key} is given twice.")
        wanted[key] = value
    piped = [key for key, value in wanted.items() if value == "-"]
    if len(piped) > 1:
        raise click.UsageError("Only one value can come from standard input.")
    for key in piped:
        wanted[key] = sys.stdin.read().removesuffix("\n")
    return wanted


@env.command("unset", help="Remove variables from APP.")
@click.argument("app")
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
@json_option
def unset_variables(app: str, keys: tuple[str, ...], as_json: bool) -> None:
    client = instance.connect()
    for key in keys:
        client.delete("apps", app, "env-vars", key)
        if as_json:
            say_json({"key": key, "removed": True})
        else:
            say(f"Removed {key}.")
    if not as_json:
        say(_LATER)
