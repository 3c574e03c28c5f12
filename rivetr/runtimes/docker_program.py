"""Whether the program a container is to run is in its image at all.

With an init as PID 1 the engine starts that, reports success, and the container ends and restarts for
ever; without this look the reason would only be found in its log.
"""

import posixpath
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from rivetr.runtimes.unix_http import Exchange

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SECONDS = 60.0


def missing_program(socket: str, api_version: str, found: Mapping[str, Any]) -> str | None:
    """The program of a container that the engine described as `found`, if its image lacks it."""
    program: str = found["Path"]
    for path in _candidates(program, found["Config"]):
        target = f"/v{api_version}/containers/{found['Id']}/archive?path={quote(path)}"
        with Exchange(socket, _SECONDS) as exchange:
            if exchange.send("HEAD", target).status != HTTPStatus.NOT_FOUND:
                return None
    return program


def _candidates(program: str, config: Mapping[str, Any]) -> list[str]:
    if "/" in program:
        return [posixpath.join(config.get("WorkingDir") or "/", program)]
    environment = dict(variable.partition("=")[::2] for variable in config.get("Env") or [])
    folders = (environment.get("PATH") or _DEFAULT_PATH).split(":")
    return [posixpath.join(folder or "/", program) for folder in folders]
