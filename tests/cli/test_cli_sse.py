"""Server-sent events out of bytes that are cut anywhere."""

import pytest

from rivetr.cli.sse import messages

STREAM = 'data: {"a": "é"}\n\n: alive\r\n\r\nid: 4\ndata:{"b":\r\ndata: 2}\r\n\r\ndata: {"cut": 1}\n'.encode()
EXPECTED = [{"a": "é"}, None, {"b": 2}]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_the_cuts_between_chunks_do_not_matter(size: int) -> None:
    chunks = [STREAM[start : start + size] for start in range(0, len(STREAM), size)]
    assert list(messages(chunks)) == EXPECTED


@pytest.mark.parametrize("content", [b"data: [1]\n\n", b"data: no json\n\n"])
def test_an_event_that_is_no_object_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json's own error or ours, as documented
        list(messages([content]))


def test_a_line_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match="does not end"):
        list(messages(b"x" * 2**20 for _ in range(6)))
