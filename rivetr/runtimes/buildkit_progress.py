"""What BuildKit's plain progress says (`#5 [2/3] RUN make`, `#5 1.2 cc -c …`): lines for the log, and why it failed."""

import re

from rivetr.runtimes.base import Log
from rivetr.runtimes.build_failures import disk_is_full, no_base_image

_STEP = re.compile(r"#(?P<id>\d+) (?P<name>\[.+|resolve image config for .+)")
_ERROR = re.compile(r"#(?P<id>\d+) ERROR: (?P<words>.+)")
# Digests, and layers on their way: only a layer's end is told.
_NOISE = re.compile(r"#\d+ (?:extracting )?sha256:[0-9a-f]{64}(?! .*\bdone\b)")
_WRAPPING = re.compile(
    r"(?:(?:ERROR|error|failed to solve(?: with frontend \S+)?|failed to create LLB definition"
    r"|failed to compute cache key):|rpc error: code = \S+ desc =) "
)
_FRONTEND = re.compile(r"resolve image config for (?:docker-image://)?(?P<image>\S+)")
_BASE = re.compile(r"(?:load metadata for|\] FROM) (?P<image>[^\s@]+)")
_EXIT = re.compile(r"exit code: (?P<code>\d+)$")
_SYNTAX = re.compile(r"dockerfile parse error (?:on )?line (?P<line>\d+): (?P<words>.+)", re.I)
_STAGE = re.compile(r"\[[^\]]*\] ")
_LONGEST_STEP = 200
_KILLED = 137


class BuildKitProgress:
    """What the build has said so far."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._names: dict[str, str] = {}
        self._failed_step = ""
        self._error = ""
        self._last = ""

    def line(self, line: str) -> None:
        """One line of its output."""
        if not line.strip() or _NOISE.match(line):
            return
        if step := _STEP.match(line):
            self._names[step["id"]] = step["name"]
        elif error := _ERROR.match(line):
            self._take_error(error["id"], error["words"])
        if not line.startswith("#"):
            self._last = line
        self._log(line)

    def failure(self, status: int) -> str:
        """The sentence that says why it failed, after the last line."""
        words = _bare(self._error or self._last) or f"the docker command line ended with status {status}"
        return disk_is_full(words) or self._no_image(words) or _misread(words) or self._step_failed(words)

    def _take_error(self, id: str, words: str) -> None:
        # Steps that ran beside the one that failed are called off, which is no reason.
        if not self._error and "context canceled" not in words:
            self._failed_step, self._error = self._names.get(id, ""), words

    def _no_image(self, words: str) -> str | None:
        if frontend := _FRONTEND.match(self._failed_step):
            return (
                f"The Dockerfile's '# syntax=' line asks for the image {_short(frontend['image'])}, which could not be "
                f"pulled: {words}. Check its name and this machine's network, or leave the line out."
            )
        base = _BASE.search(self._failed_step)
        return no_base_image(_short(base["image"]), words) if base else None

    def _step_failed(self, words: str) -> str:
        step = f"The step '{_STAGE.sub('', self._failed_step, count=1)[:_LONGEST_STEP]}' failed"
        if found := _EXIT.search(words):
            killed = " It was killed: most likely it needed more memory than this machine has."
            return f"{step} with exit code {found['code']}.{killed if int(found['code']) == _KILLED else ''}"
        return f"{step}: {words}." if self._failed_step else f"{words[:1].upper()}{words[1:]}."


def _misread(words: str) -> str | None:
    found = _SYNTAX.search(words)
    if not found:
        return None
    said = f"Line {found['line']} of the Dockerfile was not understood: {found['words']}."
    if "unknown" in found["words"].lower():
        said += (
            " Here-documents and newer flags may be beyond this engine's own BuildKit: update the engine (to 23 or "
            "newer), or make '# syntax=docker/dockerfile:1' the first line, upon which the engine downloads that."
        )
    return said


def _bare(words: str) -> str:
    words = words.strip().rstrip(".")
    while wrapping := _WRAPPING.match(words):
        words = words[wrapping.end() :]
    return words


def _short(image: str) -> str:
    """The name people use."""
    return image.removeprefix("docker.io/").removeprefix("library/")
