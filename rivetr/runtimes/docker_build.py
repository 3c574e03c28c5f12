"""An image out of a folder: with the engine's classic builder, whose memory and CPU limits bite, where that can."""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from rivetr.errors import BuildFailed
from rivetr.runtimes.base import BuildSpec, Limits, Log
from rivetr.runtimes.build_failures import disk_is_full, no_base_image
from rivetr.runtimes.buildkit_need import buildkit_need
from rivetr.runtimes.context import context_tar, find_dockerfile, read_dockerfile
from rivetr.runtimes.docker_buildkit import build_with_buildkit
from rivetr.runtimes.docker_errors import translated
from rivetr.runtimes.lines import LineSplitter
from rivetr.runtimes.unix_http import Exchange, refusal

_STEP = re.compile(r"Step \d+/\d+ : (?P<word>\w+)\s*(?P<rest>.*)")
_CPU_PERIOD = 100_000


def build_image(socket: str, api_version: str, spec: BuildSpec, log: Log) -> str:
    """Build and give the image's id, `sha256:…`. Raises `BuildFailed`, or whatever `log` raises.

    Leaving early, for whatever reason, closes the connection, upon which the engine stops the build.
    """
    dockerfile = find_dockerfile(spec.context, spec.dockerfile)
    need = buildkit_need(read_dockerfile(spec.context, dockerfile))
    if need:
        return build_with_buildkit(socket, spec, dockerfile, need, log)
    target = f"/v{api_version}/build?{urlencode(build_query(spec, dockerfile))}"
    progress = _Progress(spec.limits, log)
    # No time limit: a step may be silent for long, and how long a build may take is the caller's affair.
    with Exchange(socket, timeout=None) as exchange:
        for message in _messages(exchange, socket, target, context_tar(spec.context, dockerfile)):
            progress.take(message)
    return progress.finish()


def build_query(spec: BuildSpec, dockerfile: str) -> dict[str, str]:
    """The parameters of the Engine API's `POST /build`."""
    query = {"t": spec.tag, "dockerfile": dockerfile, "rm": "1", "forcerm": "1"}
    query |= {"labels": json.dumps(dict(spec.labels)), "buildargs": json.dumps(dict(spec.args))}
    if spec.limits.memory_bytes:
        # Swap counts in: equal to the memory means none on top.
        query |= {"memory": str(spec.limits.memory_bytes), "memswap": str(spec.limits.memory_bytes)}
    if spec.limits.cpus:
        query |= {"cpuperiod": str(_CPU_PERIOD), "cpuquota": str(int(spec.limits.cpus * _CPU_PERIOD))}
    return query


def _messages(exchange: Exchange, socket: str, target: str, body: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    # Only our own reading and writing is translated: what the consumer of this raises passes by.
    with translated("build the image", socket):
        response = exchange.send("POST", target, body, {"Content-Type": "application/x-tar"})
        if response.status >= 400:
            raise BuildFailed(f"The container engine refused the build: {refusal(response).rstrip('.')}.")
        while line := response.readline():
            if line.strip():
                yield json.loads(line.decode("utf-8", "replace"))


class _Progress:
    """What the build has said so far."""

    def __init__(self, limits: Limits, log: Log) -> None:
        self._limits = limits
        self._log = log
        self._output = LineSplitter(self._line)
        self._base = ""
        self._image = ""

    def take(self, message: dict[str, Any]) -> None:
        """One message of the engine's stream."""
        if "errorDetail" in message or "error" in message:
            self._output.finish()
            raise BuildFailed(self._failure(message))
        if "stream" in message:
            self._output.feed(message["stream"])
        elif "status" in message and "progress" not in message:
            # Progress bars would fill the log: only a layer's beginning and end are told.
            self._output.finish()
            name = message.get("id")
            self._log(f"{name}: {message['status']}" if name else str(message["status"]))
        self._image = (message.get("aux") or {}).get("ID") or self._image

    def finish(self) -> str:
        """The image's id, after the last message."""
        self._output.finish()
        if not self._image:
            raise BuildFailed("The container engine ended the build without an image: look at its log.")
        return self._image

    def _line(self, line: str) -> None:
        step = _STEP.match(line)
        if step:
            self._base = step["rest"].split(" ")[0] if step["word"].upper() == "FROM" else ""
        self._log(line)

    def _failure(self, message: dict[str, Any]) -> str:
        detail = message.get("errorDetail") or {}
        words = str(detail.get("message") or message.get("error")).strip().rstrip(".")
        if full := disk_is_full(words):
            return full
        if self._base:
            return no_base_image(self._base, words)
        if detail.get("code") == 137 and self._limits.memory_bytes:
            size = f"{self._limits.memory_bytes / 2**20:.0f} MiB"
            return f"{words}. It was killed: most likely it needed more than the {size} a build may use."
        return f"{words}."
