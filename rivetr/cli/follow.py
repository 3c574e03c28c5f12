"""Logs as they grow, over streams that may break: opened again, and no line given twice."""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import TypeVar

from rivetr.cli.client import Answer, Client, Unreachable
from rivetr.cli.output import note
from rivetr.errors import OutsideError

Given = TypeVar("Given")
Messages = Iterator[Answer | None]

# How long an instance that does not answer is asked again; 'rivetr up' restarts well within it.
PATIENCE_SECONDS = 60.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 5.0


def deployment(client: Client, id: str, patience: float = PATIENCE_SECONDS) -> Iterator[Answer]:
    """Each line of a deployment's log once (`id`, `time`, `stage`, `line`), at last `{"status": …}`."""
    last = 0
    with closing(_again_and_again(lambda: client.events("deployments", id, "logs", "stream"), patience)) as messages:
        for message in messages:
            if "status" in message:
                yield message
                return
            number = int(message.get("id", 0))
            if number > last:
                last = number
                yield message


def app_log(client: Client, app: str, patience: float = PATIENCE_SECONDS) -> Iterator[Answer]:
    """Each line of an app's containers once (`time`, `container`, `line`), beyond restarts and deployments.

    Ends with `Refused` when the app does not run any more.
    """
    shown: dict[str, tuple[str, int]] = {}

    def opened() -> Messages:
        # Asked first, because a stream that has begun cannot say any more that it is refused.
        client.text("apps", app, "logs", lines=1)
        yield from _not_shown(client.events("apps", app, "logs", "stream"), shown)

    return _again_and_again(opened, patience)


def _not_shown(messages: Messages, shown: dict[str, tuple[str, int]]) -> Messages:
    """Leave out what an earlier stream gave; `shown` has each container's last time and its lines then."""
    before = dict(shown)
    repeated: dict[str, int] = {}
    for message in messages:
        if message is None:
            yield None
            continue
        container, moment = str(message.get("container")), str(message.get("time"))
        last, count = before.get(container, ("", 0))
        if moment == last:
            repeated[container] = repeated.get(container, 0) + 1
        if moment < last or (moment == last and repeated[container] <= count):
            # A sign of life all the same.
            yield None
            continue
        latest, lines = shown.get(container, ("", 0))
        shown[container] = (moment, lines + 1 if moment == latest else 1)
        yield message


def _again_and_again(opened: Callable[[], Messages], patience: float) -> Generator[Answer, None, None]:
    contact, pause = time.monotonic(), _FIRST_PAUSE
    while True:
        failure: OutsideError = Unreachable("The stream ended again and again before anything came.")
        try:
            for message in opened():
                contact, pause = time.monotonic(), _FIRST_PAUSE
                if message is not None:
                    yield message
        except OutsideError as error:
            if error.permanent:
                raise
            if pause == _FIRST_PAUSE:
                note(f"{error.message} Trying again…")
            failure = error
        if time.monotonic() - contact > patience:
            raise failure
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


def patiently(ask: Callable[[], Given], patience: float = PATIENCE_SECONDS) -> Given:
    """The answer of `ask`, asked again while the instance is away for a moment."""
    first, pause = time.monotonic(), _FIRST_PAUSE
    while True:
        try:
            return ask()
        except OutsideError as error:
            if error.permanent or time.monotonic() - first > patience:
                raise
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)
