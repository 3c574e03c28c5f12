"""Server-sent events (WHATWG HTML, 9.2.6) cut out of bytes as they come; we use only `data` and comments."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

# A log line is far shorter; more without a line break is no event stream of ours.
_MAX_LINE_BYTES = 4 * 1024 * 1024


def messages(chunks: Iterable[bytes]) -> Iterator[dict[str, Any] | None]:
    """The JSON object of each event, and None for each comment (a sign of life).

    Raises `ValueError` when the bytes are no such stream. An event that the end cuts off is dropped.
    """
    data: list[str] = []
    for line in _lines(chunks):
        if line.startswith(":"):
            yield None
        elif line.startswith("data:"):
            data.append(line.removeprefix("data:").removeprefix(" "))
        elif not line and data:
            yield _object("\n".join(data))
            data = []


def _object(text: str) -> dict[str, Any]:
    message = json.loads(text)
    if not isinstance(message, dict):
        raise ValueError("an event is no JSON object")
    return message


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.removesuffix(b"\r").decode("utf-8", "replace")
        if len(rest) > _MAX_LINE_BYTES:
            raise ValueError("a line does not end")
