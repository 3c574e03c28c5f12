"""Whether a Dockerfile needs BuildKit: whether it uses what the classic builder refuses."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import dropwhile, takewhile

_FLAGS = {
    "RUN": {"--mount", "--network", "--security", "--device"},
    "COPY": {"--chmod", "--link", "--parents", "--exclude"},
    "ADD": {"--chmod", "--link", "--exclude", "--checksum", "--keep-git-dir", "--unpack"},
}
# These variables are BuildKit's; the classic builder sees nothing there, which is no platform.
_PLATFORM = re.compile(r"--platform=.*\$\{?(?:BUILD|TARGET)(?:PLATFORM|OS|ARCH|VARIANT)\b")
_WORD = re.compile(r"""(?:[^\s"'\\]|\\.|"(?:\\.|[^"\\])*"|'[^']*'|["'\\])+""", re.S)
# BuildKit's own pattern: a word of its own, so neither `$((1<<2))` nor a quoted "<<EOF" counts.
_HEREDOC = re.compile(r"""\d*<<-?(?P<quote>["']?)(?P<end>[^\s<"']+)(?P=quote)""")
_ESCAPE = re.compile(r"#\s*escape\s*=\s*([\\`])\s*", re.I)
_DIRECTIVE = re.compile(r"#\s*\w+\s*=")


@dataclass(frozen=True, slots=True)
class BuildKitNeed:
    """The first thing in a Dockerfile that only BuildKit can do, and the line its instruction begins in."""

    what: str
    line: int

    def __str__(self) -> str:
        return f"{self.what} in line {self.line} of the Dockerfile"


def buildkit_need(dockerfile: str) -> BuildKitNeed | None:
    """Why this text of a Dockerfile needs BuildKit, or None.

    A `# syntax=` line alone is no need: it is a comment to the classic builder, and would have BuildKit
    download a frontend.
    """
    lines = [line.removesuffix("\r") for line in dockerfile.removeprefix("\ufeff").split("\n")]
    # Where each text is a line for the last time: whether a here-document is ever ended.
    last_seen = {line.lstrip("\t"): number for number, line in enumerate(lines, 1)}
    for first, last, text in _instructions(lines):
        words = list(dropwhile(lambda word: word.upper() == "ONBUILD", _WORD.findall(text)))
        what = _needed_flag(words)
        if what is None and _has_heredoc(words, last, last_seen):
            what = "the here-document"
        if what:
            return BuildKitNeed(what, first)
    return None


def _instructions(lines: list[str]) -> Iterator[tuple[int, int, str]]:
    """Each instruction's first and last line and its text, continued lines joined and comments left out."""
    escape = _escape(lines)
    first = 0
    parts: list[str] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        first = first if parts else number
        bare = line.rstrip(" \t")
        is_continued = bare.endswith(escape) and not bare.endswith(escape * 2)
        parts.append(bare[:-1] if is_continued else line)
        if not is_continued:
            yield first, number, "".join(parts)
            parts = []
    if parts:
        yield first, len(lines), "".join(parts)


def _escape(lines: list[str]) -> str:
    # Directives are the comments at the very top.
    for line in takewhile(_DIRECTIVE.match, lines):
        if found := _ESCAPE.fullmatch(line):
            return found[1]
    return "\\"


def _needed_flag(words: list[str]) -> str | None:
    name = words[0].upper() if words else ""
    for flag in takewhile(lambda word: word.startswith("--"), words[1:]):
        if flag.partition("=")[0] in _FLAGS.get(name, ()):
            return f"{name} {flag.partition('=')[0]}"
        if name == "FROM" and _PLATFORM.match(flag):
            return f"{name} {flag}"
    return None


def _has_heredoc(words: list[str], line: int, last_seen: dict[str, int]) -> bool:
    if not words or words[0].upper() not in _FLAGS:
        return False
    found = (_HEREDOC.fullmatch(word) for word in words[1:])
    return any(match and last_seen.get(match["end"], 0) > line for match in found)
