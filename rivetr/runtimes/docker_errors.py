"""The one place where the docker SDK's and the socket's errors become ours, in plain words."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException

import requests.exceptions
from docker.errors import APIError, DockerException

from rivetr.errors import RuntimeFailed, RuntimeUnavailable

_PLAIN = (
    (re.compile(r'exec: \\?"(.+?)\\?": executable file not found', re.S), "the image has no program {0}"),
    (re.compile(r'exec: \\?"(.+?)\\?": stat \S+ no such file', re.S), "the image has no program {0}"),
    (re.compile(r'exec: \\?"(.+?)\\?": permission denied', re.S), "{0} in the image may not be executed"),
    (re.compile(r"exec format error"), "its program is built for another kind of processor"),
    (re.compile(r"No such image: (.+)", re.I), "there is no image {0} on this machine"),
    (re.compile(r"No such container: (.+)", re.I), "there is no container {0}"),
)


@contextmanager
def translated(doing: str, socket: str) -> Iterator[None]:
    """Turn what goes wrong inside into `RuntimeFailed` ("could not <doing>") or `RuntimeUnavailable`."""
    try:
        yield
    except APIError as error:
        raise RuntimeFailed(f"The container engine could not {doing}: {reason(error)}.") from error
    except (requests.exceptions.RequestException, HTTPException, OSError) as error:
        raise unavailable(doing, socket, error) from error
    except DockerException as error:
        # The SDK wraps what goes wrong while it asks for the engine's version.
        cause = error.__cause__
        if isinstance(cause, OSError | HTTPException) and not isinstance(cause, APIError):
            raise unavailable(doing, socket, cause) from error
        raise RuntimeFailed(f"The container engine could not {doing}: {error}.") from error


def unavailable(doing: str, socket: str, error: BaseException) -> RuntimeUnavailable:
    """What to say when the socket fails us; a missing right is named, the remedy differs."""
    if "Permission denied" in str(error):
        advice = "this user may not use it: add the user to the group docker"
    elif "timed out" in str(error).lower():
        advice = "it took too long: look at its log (journalctl -u docker) and at the machine's load"
    else:
        advice = "start it (systemctl start docker, or dockerd), or set runtime.docker_socket"
    return RuntimeUnavailable(f"The container engine at {socket} did not answer (to {doing}): {advice}.")


def reason(error: APIError) -> str:
    """The engine's own reason, without the internals of its lower layers."""
    return plain(str(error.explanation or error))


def plain(text: str) -> str:
    """The engine's message as a clause without a full stop."""
    for pattern, words in _PLAIN:
        found = pattern.search(text)
        if found:
            return words.format(*found.groups())
    return " ".join(text.split()).removesuffix(": unknown").rstrip(".")
