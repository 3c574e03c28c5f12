"""Processes that are fed and listened to at the same time."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rivetr import shell

BIG = [b"x" * 100_000, b"", b"y" * 300_000]


def test_it_feeds_and_listens_at_the_same_time() -> None:
    seen: list[bytes] = []
    assert shell.stream(["cat"], seen.append, BIG) == 0
    assert b"".join(seen) == b"".join(BIG)


def test_output_comes_at_once_and_both_streams_of_it() -> None:
    seen: list[tuple[float, bytes]] = []
    program = "echo one; sleep 0.6; echo two >&2; exit 3"
    status = shell.stream(["sh", "-c", program], lambda piece: seen.append((time.monotonic(), piece)), env={})
    assert (status, [piece for _, piece in seen]) == (3, [b"one\n", b"two\n"])
    assert seen[1][0] - seen[0][0] > 0.4


def test_a_process_need_not_read_what_it_is_fed() -> None:
    seen: list[bytes] = []
    assert shell.stream(["sh", "-c", "exec <&-; sleep 0.2; echo no; exit 4"], seen.append, BIG * 10) == 4
    assert seen == [b"no\n"]


@pytest.mark.parametrize("is_supply_to_blame", [True, False])
def test_an_error_ends_the_whole_group(tmp_path: Path, is_supply_to_blame: bool) -> None:
    file = tmp_path / "pid"

    def supply() -> Iterator[bytes]:
        while is_supply_to_blame:
            if file.exists() and file.read_text().endswith("\n"):
                raise ValueError("enough")
            time.sleep(0.01)
            yield b"x"

    def take(piece: bytes) -> None:
        raise ValueError("enough")

    script = f"sleep 1000 & echo $! > {file}; {'' if is_supply_to_blame else 'echo hi;'} cat >/dev/null; wait"
    with pytest.raises(ValueError, match="enough"):
        shell.stream(["sh", "-c", script], take, supply())
    assert _ends(int(file.read_text()))


def _ends(pid: int) -> bool:
    for _ in range(200):
        try:
            os.kill(pid, 0)
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return True
        if state == "Z":
            # Whether it is also reaped is its new parent's affair.
            return True
        time.sleep(0.02)
    return False
