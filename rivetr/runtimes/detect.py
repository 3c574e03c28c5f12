"""Which container engine there is; asking is cheap (no SDK), so the dashboard may do it on every page."""

import os
import sys
from contextlib import suppress
from http.client import HTTPException

from rivetr import config
from rivetr.errors import Misconfigured, RivetrError, RuntimeUnavailable
from rivetr.runtimes.base import Runtime
from rivetr.runtimes.unix_http import Exchange

_PING_SECONDS = 2.0


def ping(settings: config.Runtime) -> str | None:
    """The name of the engine that answers now (`docker`), or None; takes 2 seconds at most per socket."""
    return "docker" if sighting(settings) else None


def sighting(settings: config.Runtime) -> tuple[str, int] | None:
    """The socket of the engine that answers now, and when that was made (ns): another one is an engine restarted."""
    if settings.type == "podman":
        return None
    for path in _sockets(settings):
        if _complaint(path) is None:
            with suppress(OSError):
                return path, os.stat(path).st_ctime_ns
    return None


def current(settings: config.Runtime) -> Runtime:
    """The engine to use. Raises `RuntimeUnavailable` when none answers, saying what to do."""
    if settings.type == "podman":
        raise Misconfigured('runtime.type = "podman" comes in a later version: set it to "docker" or "auto".')
    complaints = []
    for path in _sockets(settings):
        complaint = _complaint(path)
        if complaint is None:
            # The SDK is large: processes that only ask whether an engine is there never load it.
            from rivetr.runtimes.docker import DockerRuntime

            return DockerRuntime(path)
        complaints.append(f"{path} ({complaint})")
    raise RuntimeUnavailable(
        f"No container engine answers at {' or '.join(complaints)}: start it (systemctl start docker, or dockerd), "
        "or set runtime.docker_socket."
    )


def _sockets(settings: config.Runtime) -> list[str]:
    paths = [settings.docker_socket]
    host = os.environ.get("DOCKER_HOST", "")
    if settings.type == "auto" and host.startswith("unix://"):
        paths.append(host.removeprefix("unix://"))
    return list(dict.fromkeys(paths))


def _complaint(path: str) -> str | None:
    """Why the socket is of no use now, or None when an engine answers there."""
    try:
        with Exchange(path, _PING_SECONDS) as exchange:
            response = exchange.send("GET", "/_ping")
            return None if response.status == 200 else f"it answers with status {response.status}"
    except FileNotFoundError:
        return "there is no such socket"
    except PermissionError:
        return "this user may not use it: add the user to the group docker"
    except ConnectionRefusedError:
        return "nobody listens"
    except TimeoutError:
        return f"no answer in {_PING_SECONDS:.0f} s"
    except (OSError, HTTPException) as error:
        return str(error) or type(error).__name__


if __name__ == "__main__":
    # For scripts/engine.sh, which starts an engine where none answers.
    try:
        current(config.load().runtime)
    except RivetrError as error:
        sys.exit(error.message)
