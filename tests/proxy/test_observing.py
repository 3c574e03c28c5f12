"""What the proxy tells of its work: the access log, and the counters in proxy.db."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from proxy import contract
from tests.instance import ROOT, wait_for
from tests.proxy.process import Proxy, running
from tests.proxy.test_watching import UPGRADE, echo, small_disk
from tests.proxy.wire import Backend, Message, Wire, get, ok

__all__ = ["small_disk"]

Make = Callable[..., Backend]
Start = Callable[..., Proxy]
# The log is written with each sweep, four times in the shortest time-out; counters once a second as a rule.
OFTEN = ("--connect-timeout", "0.4")
SOON = {"proxy.watcher._REPORT_SECONDS": 0.2, "proxy.watcher._POLL_SECONDS": 0.2}
START = re.compile('is-it-there|"GET / HTTP/1.1" 404')
COMBINED = re.compile(
    r'(\S+) - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\] "((?:[^"\\]|\\.)*)" (\d{3}) (\d+) '
    r'"((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)"'
)


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy whose counters these tests read."""
    with running(tmp_path_factory.mktemp("counting"), constants=SOON) as proxy:
        yield proxy


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


# The access log


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


def test_a_signal_without_a_log_harms_nobody(counting: Proxy) -> None:
    os.kill(counting.pid, signal.SIGUSR1)
    assert counting.ask(get("nobody.test")).status == 404


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
    assert json.loads(log.read_text().splitlines()[-1])["target"] == "/room-again"
    assert proxy.log.count("cannot be written") == 1


# Counters


def traffic(proxy: Proxy, host: str, requests: int = 1, prefix: str = "/") -> contract.Traffic:
    """The route's counters once so many requests are counted."""

    def look() -> contract.Traffic | None:
        with proxy.state() as state:
            found = [row for row in contract.traffic(state) if (row.host, row.path_prefix) == (host, prefix)]
        return next((row for row in found if row.requests >= requests), None)

    found = wait_for(look, 5, "the counters")
    assert sum(found.buckets) == sum(found.statuses) == found.requests == requests
    return found


def test_answers_of_a_backend_are_counted(counting: Proxy, backend: Make, host: str) -> None:
    def answer(request: Message, _wire: Wire) -> bytes:
        status = request.line.split("/")[1][:3].encode()
        return b"HTTP/1.1 %s So\r\nContent-Length: 4\r\n\r\nbody" % status

    counting.route(host, backend(answer).address)
    with counting.connect() as wire:
        for status in (200, 201, 302, 404, 500, 503, 599):
            wire.send(get(host, f"/{status}"))
            assert wire.response().status == status
    found = traffic(counting, host, 7)
    assert (found.statuses, found.bytes_in, found.bytes_out) == ((0, 2, 1, 1, 3), 0, 28)
    assert 0 < found.seconds < 5
    with counting.state() as state:
        rows = contract.minutes(state, int(time.time()) // 60 - 1, [host])
    assert (sum(row.requests for row in rows), sum(row.errors for row in rows)) == (7, 3)
    assert sum(row.bytes_out for row in rows) == 28


@pytest.mark.parametrize("status", [600, 999])
def test_a_status_of_no_class_is_passed_on_and_counted(counting: Proxy, backend: Make, host: str, status: int) -> None:
    counting.route(host, backend(b"HTTP/1.1 %d Odd\r\nContent-Length: 1\r\n\r\nx" % status).address)
    with counting.connect() as wire:
        for _ in range(2):
            wire.send(get(host))
            assert wire.response().status == status
    assert traffic(counting, host, 2).statuses == (0, 0, 0, 0, 2)
    assert "Traceback" not in counting.log


def test_how_long_requests_took_is_counted(counting: Proxy, backend: Make, host: str) -> None:
    def answer(_request: Message, _wire: Wire) -> bytes:
        time.sleep(0.12)
        return ok(b"x")

    counting.route(host, backend(answer).address)
    assert counting.ask(get(host)).text == "x"
    found = traffic(counting, host)
    assert 0.12 <= found.seconds < 5
    assert contract.quantile(found.buckets, 1) >= 0.25  # type: ignore[operator]


def test_the_proxys_own_pages_are_counted(counting: Proxy, host: str) -> None:
    counting.route(host, policy={"unavailable": "stopped"})
    counting.route(f"m.{host}", policy={"maintenance": {"message": "Later"}})
    page = counting.ask(get(host))
    assert counting.ask(get(f"m.{host}")).status == 503
    found = traffic(counting, host)
    assert (found.statuses, found.bytes_out) == ((0, 0, 0, 0, 1), len(page.body))
    assert traffic(counting, f"m.{host}").statuses == (0, 0, 0, 0, 1)


@pytest.mark.parametrize("framing", ["Content-Length: 300000", "Transfer-Encoding: chunked"])
def test_uploads_are_counted(counting: Proxy, backend: Make, host: str, framing: str) -> None:
    counting.route(host, backend(lambda request, _wire: ok(b"%d" % len(request.body))).address)
    body = b"x" * 300_000 if "Length" in framing else b"%x\r\n%s\r\n0\r\n\r\n" % (300_000, b"x" * 300_000)
    assert counting.ask(get(host, "/", framing, method="POST") + body).text == "300000"
    assert traffic(counting, host).bytes_in == 300_000


def test_compressed_answers_count_as_what_was_sent(counting: Proxy, backend: Make, host: str) -> None:
    answers = [ok(b"x" * 20_000, "Content-Type: text/html")]
    answers.append(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"4e20\r\n" + b"x" * 20_000 + b"\r\n0\r\n\r\n"
    )
    app = backend(lambda request, _wire: answers["chunked" in request.line])
    counting.route(host, app.address, policy={"compress": True})
    bodies = [counting.ask(get(host, path, "Accept-Encoding: gzip")).body for path in ("/", "/chunked")]
    assert traffic(counting, host, 2).bytes_out == sum(map(len, bodies)) < 1000


def test_long_answers_are_counted(counting: Proxy, backend: Make, host: str) -> None:
    counting.route(host, backend(ok(b"x" * 2_000_000)).address)
    assert len(counting.ask(get(host)).body) == 2_000_000
    assert traffic(counting, host).bytes_out == 2_000_000


def test_who_leaves_before_the_answer_is_counted_too(counting: Proxy, backend: Make, host: str) -> None:
    gate = Event()

    def answer(_request: Message, _wire: Wire) -> bytes:
        gate.wait(20)
        return ok(b"x")

    app = backend(answer)
    counting.route(host, app.address)
    with counting.connect() as wire:
        wire.send(get(host))
        wait_for(lambda: app.requests, what="the request")
    assert traffic(counting, host).statuses == (0, 0, 0, 1, 0)
    gate.set()


@pytest.mark.parametrize("who", ["client", "backend"])
def test_a_tunnel_is_counted_as_soon_as_both_have_ended_it(counting: Proxy, backend: Make, host: str, who: str) -> None:
    def answer(request: Message, wire: Wire) -> None:
        if who == "client":
            echo(request, wire)
            return
        wire.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        wire.send(wire.exactly(5))

    counting.route(host, backend(answer).address)
    with counting.connect() as wire:
        wire.send(get(host, "/", *UPGRADE))
        assert wire.head().status == 101
        wire.send(b"hello")
        assert wire.exactly(5) == b"hello"
        if who == "backend":
            assert wire.has_ended()
    begun = time.monotonic()
    found = traffic(counting, host)
    assert (found.statuses, found.bytes_in, found.bytes_out) == ((1, 0, 0, 0, 0), 5, 5)
    assert time.monotonic() - begun < 2.5


def test_a_process_tells_of_its_connections(counting: Proxy, backend: Make, host: str) -> None:
    def own() -> contract.ProcessState:
        with counting.state() as state:
            return next(found for found in contract.processes(state) if found.pid == counting.pid)

    gate = Event()

    def answer(_request: Message, _wire: Wire) -> bytes:
        gate.wait(20)
        return ok(b"x")

    counting.route(host, backend(answer).address)
    before = own().accepted
    with counting.connect() as wire, counting.connect() as resting:
        wire.send(get(host))
        resting.send(b"GET")
        wait_for(lambda: (own().in_flight, own().connections) == (1, 2), 5, "the news")
        gate.set()
        assert wire.response().text == "x"
    wait_for(lambda: (own().in_flight, own().connections) == (0, 0), 5, "the end")
    assert own().accepted == before + 2
    assert abs(own().started_at - time.time()) < 300


def test_nothing_is_written_while_nothing_happens(counting: Proxy, backend: Make, host: str) -> None:
    counting.route(host, backend(ok(b"x")).address)
    counting.ask(get(host))
    traffic(counting, host)
    with closing(sqlite3.connect(counting.state_path)) as state:

        def version() -> object:
            return state.execute("PRAGMA data_version").fetchone()

        def is_at_rest() -> bool:
            before = version()
            time.sleep(0.3)
            return bool(version() == before)

        wait_for(lambda: all(is_at_rest() for _ in range(2)), 10, "rest")
        assert all(is_at_rest() for _ in range(4))


def test_a_locked_file_makes_no_minute_count_twice(start: Start, backend: Make, host: str) -> None:
    proxy = start(constants=SOON)
    proxy.route(host, backend(ok(b"x")).address)
    for _ in range(5):
        proxy.ask(get(host))
    traffic(proxy, host, 5)
    with closing(sqlite3.connect(proxy.state_path, isolation_level=None)) as locker:
        locker.execute("BEGIN IMMEDIATE")
        proxy.ask(get(host))
        wait_for(lambda: "cannot be written" in proxy.log, 10, "the complaint")
        locker.execute("ROLLBACK")
    proxy.ask(get(host))
    found = traffic(proxy, host, 7)
    with proxy.state() as state:
        rows = contract.minutes(state, 0, [host])
    assert sum(row.requests for row in rows) == 7
    assert sum(sum(row.buckets) for row in rows) == 7
    assert sum(row.bytes_out for row in rows) == found.bytes_out == 7
