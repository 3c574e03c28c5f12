"""Which container engine answers; asking is cheap, so the dashboard may do it on every page."""

import http.client
import os
import socket
from pathlib import Path

from rivetr import config
from rivetr.errors import Misconfigured, RuntimeUnavailable
from rivetr.runtimes.base import Runtime

PING_SECONDS = 2


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket, which is how engines are spoken to."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PING_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ping(settings: config.Runtime) -> str | None:
    """`docker` when that engine answers (Docker Engine API 1.41, `GET /_ping`), else None."""
    socket_path = _docker_socket(settings)
    connection = _UnixConnection(socket_path)
    try:
        connection.request("GET", "/_ping")
        return "docker" if connection.getresponse().status == http.client.OK else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def current(settings: config.Runtime) -> Runtime:
    """The engine to use. Raises `RuntimeUnavailable` when none answers."""
    if settings.type == "podman":
        raise Misconfigured("runtime.type = 'podman' is not supported yet: use 'docker' or 'auto'.")
    if ping(settings) is None:
        raise RuntimeUnavailable(
            f"No container engine answers at {_docker_socket(settings)}: "
            "start it (systemctl start docker, or dockerd), or set runtime.docker_socket."
        )
    from rivetr.runtimes.docker import DockerRuntime

    return DockerRuntime(_docker_socket(settings))


def _docker_socket(settings: config.Runtime) -> str:
    host = os.environ.get("DOCKER_HOST", "")
    if settings.type == "auto" and not Path(settings.docker_socket).exists() and host.startswith("unix://"):
        return host.removeprefix("unix://")
    return settings.docker_socket
