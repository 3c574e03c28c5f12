"""`deploy`, `rollback`: bring a version live, and with --wait watch it get there."""

import sys
from typing import NoReturn

import click

from rivetr.cli import follow, instance
from rivetr.cli.client import Answer, Client, Unreachable
from rivetr.cli.output import json_option, note, safe, say, say_json, say_marked
from rivetr.errors import Conflict, NotFound, OutsideError, StageFailed

# The exit status of a program that Ctrl-C ended, by the shells' convention.
_INTERRUPTED = 130

wait_option = click.option("--wait", is_flag=True, help="Show the log as it grows; exit status 0 only if it runs then.")


@click.command(help="Deploy APP from its repository.")
@click.argument("app")
@click.option("--ref", help="A branch, tag or whole commit id instead of the app's branch.")
@wait_option
@json_option
def deploy(app: str, ref: str | None, wait: bool, as_json: bool) -> None:
    client = instance.connect()
    deployment = client.post("apps", app, "deploy", body={"ref": ref} if ref else None)
    _begun(client, app, deployment, wait, as_json)


@click.command(help="Bring an earlier release of APP back: DEPLOYMENT's, or the one before the present one.")
@click.argument("app")
@click.argument("deployment", required=False)
@wait_option
@json_option
def rollback(app: str, deployment: str | None, wait: bool, as_json: bool) -> None:
    client = instance.connect()
    target = _chosen(client, app, deployment) if deployment else _previous(client, app)
    if not as_json:
        commit = str(target.get("commit_sha") or "no commit")[:8]
        say(f"Back to deployment {target.get('id')} ({commit}).")
    begun = client.post("deployments", str(target.get("id")), "rollback")
    _begun(client, app, begun, wait, as_json)


def _chosen(client: Client, app: str, id: str) -> Answer:
    found = client.get("deployments", id)
    if found.get("app_id") != client.get("apps", app).get("id"):
        raise NotFound(f"{app} has no deployment '{id}': 'rivetr status {app}' lists the last ones.")
    return found


def _previous(client: Client, app: str) -> Answer:
    """The newest deployment that served before the present one, from another image."""
    served = [
        deployment
        for deployment in client.items("apps", app, "deployments")
        if deployment.get("status") in ("running", "stopped") and deployment.get("image")
    ]
    for deployment in served[1:]:
        if deployment["image"] != served[0]["image"]:
            return deployment
    raise Conflict(f"There is no earlier release of {app} to bring back.")


def _begun(client: Client, app: str, deployment: Answer, wait: bool, as_json: bool) -> None:
    id = str(deployment.get("id"))
    if as_json:
        say_json(deployment)
    else:
        say(f"Deployment {id} of {app} has been asked for.")
    if not wait:
        return
    later = f"The deployment goes on; 'rivetr status {app}' shows how it ends."
    try:
        url = str(follow.patiently(lambda: client.get("apps", app, "status")).get("url"))
        _watch(client, id, as_json)
        if not as_json:
            say_marked("==>", "green", f"{app} is running at {url}")
    except KeyboardInterrupt:
        note(f"Not waiting any longer. {later}")
        sys.exit(_INTERRUPTED)
    except OutsideError as error:
        raise Unreachable(f"{error.message} {later}") from None


def _watch(client: Client, id: str, as_json: bool) -> None:
    """Show the log until the end. Raises `StageFailed` when that is anything but running."""
    stage, status = "", ""
    for message in follow.deployment(client, id):
        if "status" in message:
            status = str(message["status"])
        elif as_json:
            say_json(message)
        else:
            if message.get("stage") != stage:
                stage = str(message.get("stage"))
                say_marked("==>", "blue", stage)
            say(f"    {message.get('line')}")
    ended = follow.patiently(lambda: client.get("deployments", id))
    if as_json:
        say_json({**ended, "status": status})
    elif durations := _durations(ended):
        say_marked("==>", "blue", durations)
    if status != "running":
        _fail(ended, status)


def _durations(deployment: Answer) -> str:
    stages = [stage for stage in deployment.get("stages") or [] if stage.get("seconds") is not None]
    return ", ".join(f"{stage.get('name')} {stage['seconds']:.1f} s" for stage in stages)


def _fail(deployment: Answer, status: str) -> NoReturn:
    reason = safe(str(deployment.get("error") or ""))
    where = f" at {deployment['failed_stage']}" if deployment.get("failed_stage") else ""
    sentences = {
        "failed": f"The deployment failed{where}: {reason or 'no reason was given.'}",
        "cancelled": f"The deployment was cancelled. {reason}".rstrip(),
        "superseded": "The deployment did not run: a later one took its place.",
        "stopped": "The deployment ran and was replaced by a later one.",
    }
    raise StageFailed(sentences.get(status, f"The deployment ended as '{safe(status)}'."))
