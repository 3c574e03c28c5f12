"""Backends that fail: taken out by active checks or by what visitors' requests meet, and taken in again."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.instance import free_port, wait_for
from tests.proxy.process import Proxy, running
from tests.proxy.wire import Backend, Message, Wire, get, ok

Make = Callable[..., Backend]
# Looks for what is due ten times a second, and lets who failed come back after half a second.
SOON = {"proxy.health._ROUND_SECONDS": 0.02, "proxy.backends._EJECTED_SECONDS": 0.5} | dict.fromkeys(
    ("proxy.watcher._REPORT_SECONDS", "proxy.watcher._POLL_SECONDS"), 0.1
)
HEALTH = {"path": "/health?deep=1", "interval": 0.05, "timeout": 0.2, "threshold": 3}
BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"


class App:
    """A backend whose health a test decides: `answer` is what /health gets."""

    def __init__(self, backend: Make, name: bytes) -> None:
        self.name = name
        self.answer: bytes | None = ok(b"well")
        self.checks: list[Message] = []
        self.visits = 0
        self.backend = backend(self._answer)
        self.address = self.backend.address

    def _answer(self, request: Message, wire: Wire) -> bytes | None:
        if "/health" not in request.line:
            self.visits += 1
            return ok(self.name)
        self.checks.append(request)
        if self.answer == b"":
            # Silence: whoever checks will close.
            wire.rest()
        return self.answer

    def is_checked(self, times: int = 1) -> None:
        """Wait for more checks."""
        wanted = len(self.checks) + times
        wait_for(lambda: len(self.checks) >= wanted, 5, "checks")


@pytest.fixture(scope="module")
def checking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with running(tmp_path_factory.mktemp("checking"), constants=SOON) as proxy:
        yield proxy


@pytest.fixture
def apps(backend: Make) -> tuple[App, App]:
    return App(backend, b"one"), App(backend, b"two")


def publish(proxy: Proxy, host: str, *apps: App, **health: Any) -> None:
    proxy.route(host, *(app.address for app in apps), policy={"health": HEALTH | health})


def answers(proxy: Proxy, host: str, count: int = 6) -> set[str]:
    return {proxy.ask(get(host)).text for _ in range(count)}


def health_of(proxy: Proxy, address: str) -> str:
    return proxy.seen().get(address, ("", 0))[0]


def is_out(proxy: Proxy, app: App) -> None:
    wait_for(lambda: health_of(proxy, app.address) == "unhealthy", 5, "the backend to be out")


def is_in(proxy: Proxy, app: App) -> None:
    wait_for(lambda: health_of(proxy, app.address) == "healthy", 5, "the backend to be in")


def test_backends_are_asked_before_any_visitor_comes(checking: Proxy, apps: tuple[App, App], host: str) -> None:
    publish(checking, host, *apps)
    for app in apps:
        app.is_checked(2)
        check = app.checks[0]
        assert check.line == "GET /health?deep=1 HTTP/1.1"
        assert (check.one("host"), check.one("user-agent"), check.one("connection")) == (host, "rivetr-health", "close")
        assert app.visits == 0
        is_in(checking, app)


@pytest.mark.parametrize(
    "answer",
    [BUSY, b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", b"", None, b"200 OK\r\n\r\n"],
    ids=["503", "302", "silent", "closes", "nonsense"],
)
def test_who_fails_its_checks_gets_no_visitors_until_it_is_well(
    checking: Proxy, apps: tuple[App, App], host: str, answer: bytes | None
) -> None:
    ill, well = apps
    publish(checking, host, ill, well)
    is_in(checking, ill)
    ill.answer = answer
    is_out(checking, ill)
    before = ill.visits
    assert answers(checking, host) == {"two"}
    assert ill.visits == before, "no visitor had to notice"
    ill.answer = ok(b"well")
    is_in(checking, ill)
    assert answers(checking, host) == {"one", "two"}


@pytest.mark.parametrize("line", [b"HTTP/1.1 204 No Content", b"HTTP/1.1 200", b"HTTP/1.0 299 Fine"])
def test_any_2xx_is_well(checking: Proxy, apps: tuple[App, App], host: str, line: bytes) -> None:
    for app in apps:
        app.answer = line + b"\r\nConnection: close\r\n\r\n"
    publish(checking, host, *apps)
    for app in apps:
        app.is_checked(4)
        is_in(checking, app)


def test_fewer_failures_than_the_threshold_take_nobody_out(checking: Proxy, apps: tuple[App, App], host: str) -> None:
    flaky, well = apps
    results = iter([BUSY, BUSY, ok(b"")] * 100)
    asked = flaky.backend._answer
    flaky.backend._answer = lambda request, wire: next(results) if _is_check(flaky, request) else asked(request, wire)
    publish(checking, host, flaky, well)
    flaky.is_checked(9)
    assert answers(checking, host) == {"one", "two"}
    assert f"{flaky.address} of {host} is unhealthy" not in checking.log


def _is_check(app: App, request: Message) -> bool:
    if "/health" in request.line:
        app.checks.append(request)
        return True
    return False


def test_where_all_are_ill_visitors_are_still_let_through(checking: Proxy, apps: tuple[App, App], host: str) -> None:
    for app in apps:
        app.answer = BUSY
    publish(checking, host, *apps, threshold=1)
    for app in apps:
        is_out(checking, app)
    assert answers(checking, host) == {"one", "two"}


def test_a_change_is_said_once(checking: Proxy, apps: tuple[App, App], host: str) -> None:
    ill, well = apps
    publish(checking, host, ill, well, threshold=1)
    ill.answer = BUSY
    is_out(checking, ill)
    ill.is_checked(3)
    ill.answer = ok(b"well")
    is_in(checking, ill)
    assert checking.log.count(f"{ill.address} of {host} is unhealthy.") == 1
    assert checking.log.count(f"{ill.address} of {host} is healthy.") == 1


def test_a_visitor_leaves_a_backend_that_fails_its_checks(checking: Proxy, apps: tuple[App, App], host: str) -> None:
    policy = {"health": HEALTH | {"threshold": 1}, "sticky": "at"}
    checking.route(host, *(app.address for app in apps), policy=policy)
    first = checking.ask(get(host))
    cookie = first.one("set-cookie").partition(";")[0]
    (own,) = (app for app in apps if app.name.decode() == first.text)
    own.answer = BUSY
    is_out(checking, own)
    moved = checking.ask(get(host, "/", f"Cookie: {cookie}"))
    assert moved.text != first.text
    assert moved.one("set-cookie").partition(";")[0] != cookie


def test_without_checks_nobody_stays_out(checking: Proxy, apps: tuple[App, App], host: str) -> None:
    ill, well = apps
    ill.answer = BUSY
    publish(checking, host, ill, well, threshold=1)
    is_out(checking, ill)
    checking.route(host, ill.address, well.address)
    wait_for(lambda: answers(checking, host) == {"one", "two"}, 5, "the backend to be in")
    checked = len(ill.checks)
    time.sleep(0.3)
    assert len(ill.checks) <= checked + 1


def test_checks_end_with_the_route(checking: Proxy, apps: tuple[App, App], host: str) -> None:
    publish(checking, host, *apps)
    apps[0].is_checked()
    checking.unroute(host)
    time.sleep(0.1)
    checked = len(apps[0].checks)
    time.sleep(0.3)
    assert len(apps[0].checks) == checked


@pytest.mark.parametrize("health", [{}, {"path": "no path"}, {"path": "/a\r\nX: y"}, {"path": None, "interval": "x"}])
def test_what_is_missing_or_bad_has_a_default(
    checking: Proxy, apps: tuple[App, App], host: str, health: dict[str, Any]
) -> None:
    asked: list[Message] = []
    apps[0].backend._answer = lambda request, _wire: asked.append(request) or ok(b"x")  # type: ignore[func-returns-value]
    checking.route(host, apps[0].address, policy={"app": json.dumps(health), "health": health})
    wait_for(lambda: asked, 5, "a check")
    assert (asked[0].line, asked[0].all("x")) == ("GET / HTTP/1.1", [])


# Without checks: what visitors' requests meet.


def test_who_refuses_three_times_is_passed_over_for_a_while(checking: Proxy, backend: Make, host: str) -> None:
    failing: list[Message] = []

    def fail(request: Message, _wire: Wire) -> None:
        failing.append(request)

    bad, good = backend(fail), backend(ok(b"good"))
    checking.route(host, bad.address, good.address)
    statuses = [checking.ask(get(host)).status for _ in range(6)]
    assert sorted(statuses) == [200, 200, 200, 502, 502, 502]
    seen = len(failing)
    assert answers(checking, host) == {"good"}
    assert len(failing) == seen
    # It may try again after a while, and one more failure takes it out again.
    time.sleep(0.3)
    wait_for(lambda: checking.ask(get(host)).status == 502, 5, "another try")
    assert answers(checking, host) == {"good"}


def test_one_good_answer_takes_it_in_again(checking: Proxy, backend: Make, host: str) -> None:
    is_ill = [True]
    app = backend(lambda _request, _wire: None if is_ill[0] else ok(b"back"))
    checking.route(host, app.address, backend(ok(b"good")).address)
    for _ in range(6):
        checking.ask(get(host))
    is_ill[0] = False
    wait_for(lambda: checking.ask(get(host)).text == "back", 5, "the return")
    assert [checking.ask(get(host)).text for _ in range(4)].count("back") == 2


def test_alone_it_is_tried_however_often_it_failed(checking: Proxy, backend: Make, host: str) -> None:
    is_ill = [True]
    app = backend(lambda _request, _wire: None if is_ill[0] else ok(b"back"))
    checking.route(host, app.address)
    assert {checking.ask(get(host)).status for _ in range(5)} == {502}
    is_ill[0] = False
    assert checking.ask(get(host)).text == "back"


def test_where_all_fail_each_is_tried(checking: Proxy, host: str) -> None:
    ports = [free_port() for _ in range(2)]
    checking.route(host, *(f"127.0.0.1:{port}" for port in ports))
    assert {checking.ask(get(host)).status for _ in range(8)} == {502}
    wait_for(lambda: all(health_of(checking, f"127.0.0.1:{port}") == "unhealthy" for port in ports), 5, "the report")
