"""Requests that readers could understand differently stop here; all others get through (R20, R21, R23)."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.proxy.process import Proxy, running
from tests.proxy.recorder import Recorders
from tests.proxy.trials import CORPORA, SHORT, Outcome, read_corpus, run
from tests.proxy.wire import Backend, get, ok

Make = Callable[..., Backend]


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with running(tmp_path_factory.mktemp("strict"), *SHORT) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def recorders() -> Iterator[Recorders]:
    made = Recorders()
    yield made
    made.close()


def _outcomes(proxy: Proxy, recorders: Recorders, file: Path) -> list[Outcome]:
    outcomes = run(proxy, recorders, read_corpus(file))
    assert [str(outcome) for outcome in outcomes if outcome.record.unsafe()] == [], "unsafe bytes were passed on"
    return outcomes


def test_r20_every_malformed_request_is_refused(proxy: Proxy, recorders: Recorders) -> None:
    outcomes = _outcomes(proxy, recorders, CORPORA / "rivetr" / "malformed.txt")
    assert len(outcomes) >= 161
    assert [str(outcome) for outcome in outcomes if not outcome.is_refused] == []


def test_r20_every_request_that_must_be_served_is(proxy: Proxy, recorders: Recorders) -> None:
    outcomes = _outcomes(proxy, recorders, CORPORA / "rivetr" / "served.txt")
    assert len(outcomes) >= 108
    assert [str(outcome) for outcome in outcomes if not outcome.is_served] == []


def test_r20_nothing_after_a_refused_request_is_served(shared: Proxy, backend: Make, host: str) -> None:
    app = backend(ok(b"x"))
    shared.route(host, app.address)
    bad = f"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    with shared.connect() as wire:
        wire.send(bad.encode() + get(host, "/smuggled"))
        assert wire.response().status == 400
        assert wire.has_ended()
    assert app.requests == []


@pytest.mark.parametrize(
    ("line", "target"),
    [
        ("GET http://{host}/a?b HTTP/1.1", "/a?b"),
        ("GET http://{host} HTTP/1.1", "/"),
        ("GET http://{host}?q HTTP/1.1", "/?q"),
        ("OPTIONS http://{host} HTTP/1.1", "*"),
        ("OPTIONS * HTTP/1.1", "*"),
    ],
)
def test_r21_the_target_s_own_authority_counts(shared: Proxy, backend: Make, host: str, line: str, target: str) -> None:
    app = backend(ok(b"x"))
    shared.route(host, app.address)
    named = host if "*" in line else f"{host}:8080"
    assert shared.ask(f"{line.format(host=host)}\r\nHost: {named}\r\n\r\n".encode()).text == "x"
    (request,) = app.requests
    assert request.line.split(" ")[1] == target
    assert request.all("host") == [host]
    assert request.all("x-forwarded-host") == [host]


def test_r21_a_target_and_a_host_that_disagree_are_refused(shared: Proxy, backend: Make, host: str) -> None:
    app, other = backend(ok(b"x")), backend(ok(b"y"))
    shared.route(host, app.address)
    shared.route(f"other.{host}", other.address)
    assert shared.ask(f"GET http://{host}/ HTTP/1.1\r\nHost: other.{host}\r\n\r\n".encode()).status == 400
    assert app.requests == other.requests == []


@pytest.mark.parametrize("fields", ["", "Host: {0}\r\nHost: {0}\r\n", "Host: {0}\r\nhost: other\r\n", "Host:\r\n"])
def test_r21_no_host_or_two_are_refused(shared: Proxy, backend: Make, host: str, fields: str) -> None:
    app = backend(ok(b"x"))
    shared.route(host, app.address)
    shared.route("*", app.address)
    try:
        assert shared.ask(f"GET / HTTP/1.1\r\n{fields.format(host)}\r\n".encode()).status == 400
        assert app.requests == []
    finally:
        shared.unroute("*")


@pytest.mark.parametrize("request_line", ["TRACE / HTTP/1.1", "CONNECT {}:443 HTTP/1.1", "CONNECT / HTTP/1.1"])
def test_r23_methods_that_are_not_for_servers(shared: Proxy, backend: Make, host: str, request_line: str) -> None:
    app = backend(ok(b"x"))
    shared.route(host, app.address)
    status = shared.ask(f"{request_line.format(host)}\r\nHost: {host}\r\n\r\n".encode()).status
    # A target of the wrong form may be noticed before the method.
    assert status == 405 or (status == 400 and request_line.startswith("CONNECT /"))
    assert app.requests == []


def test_r23_h2c_is_not_passed_on(shared: Proxy, backend: Make, host: str) -> None:
    app = backend(ok(b"x"))
    shared.route(host, app.address)
    fields = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
    assert shared.ask(get(host, "/", *fields)).text == "x"
    assert shared.ask(get(host, "/", "Connection: Upgrade", "Upgrade: websocket, h2c")).text == "x"
    names = {name for request in app.requests for name, _ in request.fields}
    assert names.isdisjoint({"upgrade", "http2-settings"})
    assert shared.ask(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").status in (400, 505)
