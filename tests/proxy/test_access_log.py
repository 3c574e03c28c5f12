"""The access log, seen from outside the real process."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.instance import ROOT, wait_for
from tests.proxy.process import Proxy
from tests.proxy.test_watching import small_disk
from tests.proxy.wire import Backend, get, ok

__all__ = ["small_disk"]

Make = Callable[..., Backend]
Start = Callable[..., Proxy]
# The log is written with each sweep, four times in the shortest time-out.
OFTEN = ("--connect-timeout", "0.4")
START = re.compile('is-it-there|"GET / HTTP/1.1" 404')
COMBINED = re.compile(
    r'(\S+) - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\] "((?:[^"\\]|\\.)*)" (\d{3}) (\d+) '
    r'"((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)"'
)


def lines(path: Path, count: int) -> list[str]:
    """The log's lines once there are so many of them, apart from those of the test's own look at the start."""

    def look() -> list[str] | None:
        with suppress(FileNotFoundError):
            found = [line for line in path.read_text().splitlines() if not START.search(line)]
            return found if len(found) >= count else None
        return None

    return wait_for(look, 5, "the log's lines")


def json_lines(path: Path, count: int) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(path, count)]


def test_each_request_is_a_line_of_json(start: Start, backend: Make, host: str, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    app = backend(ok(b"hello"))
    proxy = start(*OFTEN, "--access-log", str(log))
    proxy.route(host, app.address)
    proxy.route(host, app.address, prefix="/api", policy={"strip_prefix": True})
    proxy.ask(get(host, "/a?b=c"))
    proxy.ask(get(host, "/api/x", method="HEAD"), has_body=False)
    proxy.ask(get("nobody.test"))
    first, second, third = json_lines(log, 3)
    assert (first["client"], first["method"], first["host"], first["target"]) == ("127.0.0.1", "GET", host, "/a?b=c")
    assert (first["status"], first["bytes"], first["backend"]) == (200, 5, app.address)
    assert 0 < first["seconds"] < 5
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", first["time"])
    assert (second["target"], second["bytes"]) == ("/api/x", 0), "the target is what the client asked for"
    assert (third["status"], third["host"], third["backend"]) == (404, "nobody.test", "")
    assert third["bytes"] > 0
    assert log.stat().st_mode & 0o007 == 0


HOSTILE = ['/"', "/\\", '/\\"},{"a":"', "/%0a%0d", "/{}'<script>", "/\\u000a", "/\\n\\", '/"" 200 1 "-" "x']


@pytest.mark.parametrize("form", ["json", "combined"])
def test_no_request_can_break_a_line(start: Start, backend: Make, host: str, tmp_path: Path, form: str) -> None:
    log = tmp_path / "access.log"
    proxy = start(*OFTEN, "--access-log", str(log), "--access-log-format", form)
    proxy.route(host, backend(ok(b"x")).address)
    agents = ['"', "\\", 'x" 200 "', "tab\there", "\x85 \xff", "\\", "", "\u2028"]
    targets = [target.replace(" ", "%20") for target in HOSTILE]
    for target, agent in zip(targets, agents, strict=True):
        request = get(host, target, "User-Agent: %s", f"Referer: {agent}")
        # Bytes beyond ASCII as clients send them, in no known coding.
        assert proxy.ask(request.replace(b"%s", agent.encode("latin-1", "ignore"))).status == 200
    found = lines(log, len(targets))
    assert len(found) == len(targets)
    if form == "json":
        assert [json.loads(line)["target"] for line in found] == targets
    else:
        matches = [COMBINED.fullmatch(line) for line in found]
        assert [match and json.loads(f'"{match[2]}"') for match in matches] == [f"GET {t} HTTP/1.1" for t in targets]
        assert [match and json.loads(f'"{match[6]}"') for match in matches][:3] == agents[:3]


def test_full_files_are_put_aside_and_few_are_kept(start: Start, backend: Make, host: str, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    proxy = start(*OFTEN, "--access-log", str(log), "--access-log-max-bytes", "400", "--access-log-keep", "2")
    proxy.route(host, backend(ok(b"x")).address)
    for number in range(4):
        proxy.ask(get(host, f"/{number}?{'x' * 300}"))
        wait_for(lambda number=number: f"/{number}?" in log.read_text(), 5, "the line")  # type: ignore[misc]
    assert sorted(path.name for path in tmp_path.glob("access.log*")) == ["access.log", "access.log.1", "access.log.2"]
    found = [json_lines(log.with_name(name), 1)[-1]["target"][1] for name in ("access.log.2", "access.log.1")]
    assert found == ["1", "2"]


def test_without_older_files_to_keep_it_begins_anew(start: Start, backend: Make, host: str, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    proxy = start(*OFTEN, "--access-log", str(log), "--access-log-max-bytes", "1", "--access-log-keep", "0")
    proxy.route(host, backend(ok(b"x")).address)
    for number in range(2):
        proxy.ask(get(host, f"/{number}"))
        wait_for(lambda number=number: f'"/{number}"' in log.read_text(), 5, "the line")  # type: ignore[misc]
    assert [path.name for path in tmp_path.glob("access.log*")] == ["access.log"]


def test_a_moved_file_is_left_when_told_so(start: Start, backend: Make, host: str, tmp_path: Path) -> None:
    log, moved = tmp_path / "access.log", tmp_path / "moved.log"
    proxy = start(*OFTEN, "--access-log", str(log))
    proxy.route(host, backend(ok(b"x")).address)
    proxy.ask(get(host, "/before"))
    log.rename(moved)
    os.kill(proxy.pid, signal.SIGUSR1)
    wait_for(log.exists, 5, "the new file")
    proxy.ask(get(host, "/after"))
    assert [line["target"] for line in json_lines(moved, 1)] == ["/before"]
    assert [line["target"] for line in json_lines(log, 1)] == ["/after"]


def test_a_file_that_cannot_be_opened_anew_is_said_and_serving_goes_on(
    start: Start, backend: Make, host: str, tmp_path: Path
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    proxy = start(*OFTEN, "--access-log", str(folder / "access.log"))
    proxy.route(host, backend(ok(b"x")).address)
    folder.rename(tmp_path / "moved")
    os.kill(proxy.pid, signal.SIGUSR1)
    wait_for(lambda: "cannot be opened" in proxy.log, 5, "the complaint")
    assert proxy.ask(get(host, "/on")).text == "x"
    assert json_lines(tmp_path / "moved" / "access.log", 1)[0]["target"] == "/on"
    assert "Traceback" not in proxy.log


def test_the_log_can_go_to_standard_output(start: Start, backend: Make, host: str) -> None:
    proxy = start(*OFTEN, "--access-log", "-")
    proxy.route(host, backend(ok(b"x")).address)
    proxy.ask(get(host, "/out"))
    os.kill(proxy.pid, signal.SIGUSR1)
    proxy.ask(get(host, "/again"))
    assert proxy.end() == 0
    told = [json.loads(line) for line in proxy.log.splitlines() if line.startswith("{") and host in line]
    assert [line["target"] for line in told] == ["/out", "/again"]


@pytest.mark.parametrize("path", ["/nowhere/access.log", "/"])
def test_a_log_that_cannot_be_written_is_one_sentence(tmp_path: Path, path: str) -> None:
    argv = [sys.executable, "-m", "proxy", "--routes", str(tmp_path / "r"), "--state", str(tmp_path / "s")]
    argv += ["--host", "127.0.0.1", "--http-port", "0", "--access-log", path]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 1
    assert done.stderr.startswith(f"proxy: the access log {path} cannot be written: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_full_disk_costs_lines_and_no_requests(start: Start, backend: Make, host: str, small_disk: Path) -> None:
    log, filler = small_disk / "access.log", small_disk / "filler"
    proxy = start(*OFTEN, "--access-log", str(log))
    proxy.route(host, backend(ok(b"x")).address)
    proxy.ask(get(host, "/first"))
    lines(log, 1)
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(b"x" * 512) == 512:
            pass

    def complains() -> bool:
        assert proxy.ask(get(host, f"/{'x' * 300}")).text == "x"
        return "cannot be written" in proxy.log

    wait_for(complains, 10, "the complaint")
    filler.unlink()
    proxy.ask(get(host, "/room-again"))
    wait_for(lambda: "/room-again" in log.read_text(), 5, "the line")
    # A line may be cut, but not another one begin in it.
    told = log.read_text().splitlines()
    assert [line.count('{"time"') for line in told] == [1] * len(told)
    assert json.loads(told[-1])["target"] == "/room-again"
    assert proxy.log.count("cannot be written") == 1


def test_a_reader_that_is_too_slow_holds_nobody_up(backend: Make, host: str, tmp_path: Path) -> None:
    proxy = Proxy(tmp_path, *OFTEN, "--access-log", "-")
    command = [sys.executable, "-m", "proxy", *proxy.arguments()]
    with (tmp_path / "proxy.log").open("wb") as log:
        process = proxy.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log)
    reader = process.stdout
    assert reader is not None
    with ExitStack() as stack:
        stack.enter_context(process)
        stack.callback(process.kill)
        wait_for(proxy._answers, what="the proxy to answer")
        proxy.route(host, backend(ok(b"x")).address)

        def complains() -> bool:
            # A pipe holds 64 KiB.
            assert proxy.ask(get(host, f"/{'x' * 8000}")).text == "x"
            return "cannot be written" in proxy.log

        wait_for(complains, 10, "the complaint")
        os.set_blocking(reader.fileno(), False)
        told = bytearray(reader.read() or b"")

        def is_told() -> bool:
            told.extend(reader.read() or b"")
            return b"/again" in told

        proxy.ask(get(host, "/again"))
        wait_for(is_told, 5, "the line")
        assert [line.count(b'{"time"') for line in told.splitlines()] == [1] * len(told.splitlines())
        assert json.loads(told.splitlines()[-1])["target"] == "/again"
        assert proxy.end() == 0
