"""Whole lines out of pieces of output, as a terminal would show them."""

from collections.abc import Callable

LONGEST = 16 * 1024


class LineSplitter:
    """Give `emit` each line of the text fed in; of a line redrawn with carriage returns, its last state."""

    def __init__(self, emit: Callable[[str], None]) -> None:
        self._emit = emit
        self._rest = ""

    def feed(self, text: str) -> None:
        """Take the next piece, which may end anywhere."""
        *lines, rest = (self._rest + text).split("\n")
        # Kept before emitting: `emit` may raise, and must not see a line twice.
        self._rest = _last_drawn(rest)
        for line in lines:
            self._emit(_shown(line))
        while len(self._rest) > LONGEST:
            line, self._rest = self._rest[:LONGEST], self._rest[LONGEST:]
            self._emit(line)

    def finish(self) -> None:
        """Emit what was left without a line end."""
        rest, self._rest = self._rest, ""
        if rest:
            self._emit(_shown(rest))


def _shown(line: str) -> str:
    return _last_drawn(line).rstrip("\r")[:LONGEST]


def _last_drawn(line: str) -> str:
    # A return at the very end overwrites nothing yet, and may be half of a line end.
    kept = line.rstrip("\r")
    return kept[kept.rfind("\r") + 1 :] + line[len(kept) :][:1]
