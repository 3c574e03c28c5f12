"""`apps`, `apps create`, `status`: what runs, and where."""

import sys
from typing import Any

import click

from rivetr.cli import instance
from rivetr.cli.client import Answer, Client, Refused
from rivetr.cli.output import json_option, say, say_json, say_marked, say_table

_COLOURS = {"running": "green", "deploying": "yellow", "failed": "red"}
_RECENT = 5


@click.group(invoke_without_command=True, help="List the apps; 'apps create' makes one.")
@json_option
@click.pass_context
def apps(context: click.Context, as_json: bool) -> None:
    if context.invoked_subcommand is not None:
        return
    client = instance.connect()
    items = client.items("apps")
    if as_json:
        say_json({"items": items, "next": None})
        return
    rows = [row for app in items if (row := _row(client, str(app.get("name"))))]
    say_table(["NAME", "STATE", "ADDRESS"], rows, "There are no apps yet: 'rivetr apps create NAME GIT_URL' makes one.")


def _row(client: Client, name: str) -> list[object] | None:
    try:
        status = client.get("apps", name, "status")
    except Refused as error:
        if error.answered == 404:
            # Removed since the list was made.
            return None
        raise
    return [name, status.get("state"), status.get("url")]


@apps.command(help="Make an app NAME from the repository at GIT_URL.")
@click.argument("name")
@click.argument("git_url")
@click.option("--branch", help="What to deploy; main unless given.")
@click.option("--port", type=int, help="Where the container listens; 3000 unless given.")
@click.option("--domain", help="The host name to serve it at; NAME.BASE_DOMAIN unless given.")
@click.option("--healthcheck", metavar="PATH", help="A path that answers with 2xx or 3xx once the app is ready.")
@click.option("--dockerfile", metavar="PATH", help="Below the repository's root; Dockerfile unless given.")
@click.option("--memory", "memory_limit", metavar="AMOUNT", help="Such as 256m or 1g; 512m unless given.")
@click.option("--cpu", "cpu_limit", metavar="CPUS", help="Such as 0.5 or 2; 1 unless given.")
@json_option
def create(as_json: bool, **options: Any) -> None:
    # What is not given is not sent: the server knows its own defaults.
    app = instance.connect().post("apps", body={key: value for key, value in options.items() if value is not None})
    if as_json:
        say_json(app)
    else:
        say(f"Made {app.get('name')}. 'rivetr deploy {app.get('name')} --wait' brings it live.")


@click.command(help="Say what is up, or how APP is doing. Exit status 1 when something is down.")
@click.argument("app", required=False)
@json_option
def status(app: str | None, as_json: bool) -> None:
    if app is None:
        _instance_status(as_json)
        return
    client = instance.connect()
    found = client.get("apps", app, "status")
    if as_json:
        say_json(found)
        return
    state = str(found.get("state"))
    say_marked(state, _COLOURS.get(state, "white"), f"{app}, {found.get('url')}")
    recent = client.get("apps", app, "deployments", limit=_RECENT).get("items") or []
    rows = [_deployment_row(deployment) for deployment in recent]
    say_table(["DEPLOYMENT", "STATUS", "TRIGGER", "COMMIT", "STARTED", "MESSAGE"], rows, "It was never deployed.")


def _deployment_row(deployment: Answer) -> list[object]:
    error = str(deployment.get("error") or "")
    message = str(deployment.get("commit_message") or "")
    return [
        deployment.get("id"),
        deployment.get("status"),
        deployment.get("trigger"),
        str(deployment.get("commit_sha") or "")[:8],
        str(deployment.get("started_at") or "")[:19].replace("T", " "),
        (error or message).partition("\n")[0][:100],
    ]


def _instance_status(as_json: bool) -> None:
    client = instance.connect(needs_token=False)
    report = client.health()
    is_up = report.get("status") == "ok"
    if as_json:
        say_json(report)
    else:
        say_marked(str(report.get("status")), "green" if is_up else "red", f"{client.url} ({report.get('version')})")
        for part in ("web", "worker", "proxy", "runtime"):
            say_marked(f"  {part:<8}", "red" if report.get(part) == "down" else "green", str(report.get(part)))
    sys.exit(0 if is_up else 1)
