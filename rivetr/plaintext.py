"""What programs print, made safe to show: no escape sequences, no controls, no direction tricks."""

import re

# ECMA-48: CSI, then OSC, DCS, PM and APC strings up to their terminator, then two-character sequences.
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]P^_X].*?(?:\x1b\\|\x07|$)|\x1b[ -/]*[0-~]|[\x80-\x9f]")
# C0 but for tab, DEL, and the bidirectional overrides and isolates (UAX #9).
_UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\u202a-\u202e\u2066-\u2069]")


def plain(line: str) -> str:
    """One line as a terminal would leave it after a carriage return, without anything that acts."""
    last = _ESCAPES.sub("", line).rstrip("\r").rsplit("\r", 1)[-1]
    return _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", last)
