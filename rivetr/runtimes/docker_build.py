"""Builds through Docker's classic builder: `POST /build` with the folder as a tar (Engine API 1.41, ImageBuild)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docker.utils.build import exclude_paths, tar
from docker.utils.json_stream import json_stream

from rivetr.errors import BuildFailed
from rivetr.runtimes.base import BuildSpec, Image, Log

_CPU_PERIOD = 100_000


def build(api: Any, spec: BuildSpec, log: Log) -> Image:
    """Build, giving each line to `log`. Raises `BuildFailed`; leaving early makes the engine stop too."""
    _refuse_odd_dockerfile(spec)
    with _context(spec.context, spec.dockerfile) as archive:
        response = api._post(
            api._url("/build"),
            data=archive,
            params=_parameters(spec),
            headers={"Content-Type": "application/x-tar"},
            stream=True,
            timeout=None,
        )
    try:
        api._raise_for_status(response)
        digest = _follow(json_stream(_texts(response)), log)
    finally:
        response.close()
    return Image(spec.tag, digest or api.inspect_image(spec.tag)["Id"])


def _refuse_odd_dockerfile(spec: BuildSpec) -> None:
    file = spec.context / spec.dockerfile
    if not file.resolve().is_relative_to(spec.context.resolve()):
        raise BuildFailed(f"'{spec.dockerfile}' leads outside the repository.")
    if not file.is_file():
        raise BuildFailed(f"There is no file '{spec.dockerfile}' in the repository.")


def _context(folder: Path, dockerfile: str) -> Any:
    """The folder as a temporary tar file; symbolic links stay links."""
    ignore = folder / ".dockerignore"
    patterns = []
    if ignore.is_file() and not ignore.is_symlink():
        lines = (line.strip() for line in ignore.read_text("utf-8", "replace").splitlines())
        patterns = [line for line in lines if line and not line.startswith("#")]
    files = exclude_paths(str(folder), patterns, dockerfile=dockerfile)
    return tar(str(folder), files=sorted(files))


def _parameters(spec: BuildSpec) -> dict[str, Any]:
    return {
        "t": spec.tag,
        "dockerfile": spec.dockerfile,
        "rm": True,
        "forcerm": True,
        "pull": False,
        "labels": json.dumps(dict(spec.labels)),
        "buildargs": json.dumps(dict(spec.args)),
        "memory": spec.limits.memory_bytes,
        "memswap": spec.limits.memory_bytes,
        "cpuquota": int(spec.limits.cpus * _CPU_PERIOD),
        "cpuperiod": _CPU_PERIOD if spec.limits.cpus else 0,
    }


def _texts(response: Any) -> Iterator[str]:
    """What has arrived, as it arrives: read(n) would wait for n bytes."""
    import codecs

    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while chunk := response.raw.read1(65536):
        yield decoder.decode(chunk)


def _follow(messages: Iterator[dict[str, Any]], log: Log) -> str:
    """Log each line; gives the image's id. Raises `BuildFailed` with what the engine said."""
    digest, rest = "", ""
    for message in messages:
        if "error" in message:
            if rest:
                log(rest)
            raise BuildFailed(_reason(str(message["error"]).strip()))
        rest += message.get("stream", "") or _status_line(message)
        *lines, rest = rest.split("\n")
        for line in lines:
            if line.strip():
                log(line.rsplit("\r", 1)[-1] if not line.endswith("\r") else line.rstrip("\r"))
        digest = (message.get("aux") or {}).get("ID", digest)
    if rest.strip():
        log(rest)
    return digest


def _status_line(message: dict[str, Any]) -> str:
    if "status" not in message or "progress" in message:
        return ""
    return f"{message.get('id', '')} {message['status']}\n".lstrip()


def _reason(error: str) -> str:
    if "pull access denied" in error or "manifest unknown" in error or "dial tcp" in error or "lookup" in error:
        return f"A base image cannot be had ({error}): check its name in the FROM line and the server's network."
    if "No space left" in error or "no space left" in error:
        return "The disk is full: free some space on the server and deploy again."
    return f"The build failed: {error}"
