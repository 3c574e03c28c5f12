"""Deployments, replaced and killed proxies under load: a whole instance loses no request that could be kept."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from proxy import contract
from tests.git_server import HTTPD, Repository
from tests.instance import Instance, running, wait_for
from tests.load import Load, Versions
from tests.proxy.wire import Answer, Backend, Message, Wire, connect, get, ok

Make = Callable[..., Backend]
DRAIN_SECONDS = 4
HOST = "app.localhost"
PATHS = ("/", "/large", "/")
LARGE = 300_000
COUNT = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n%s '\nwc -c\n"


def version(name: str) -> dict[str, str]:
    """An app all of whose answers tell its version: a small and a large page, and one that counts what it is sent."""
    return {
        "Dockerfile": HTTPD,
        "www/index.html": name,
        "www/large": name * (LARGE // len(name)),
        "www/cgi-bin/count": COUNT.replace("%s", name),
        "www/health": "ok",
    }


def version_of(message: Message) -> str:
    return message.text[:3]


def is_whole(path: str, body: bytes, message: Message) -> str:
    name = version_of(message)
    wanted = f"{name} {len(body)}\n" if body else version(name)["www" + ("/index.html" if path == "/" else path)]
    return "" if message.text == wanted else f"{len(message.body)} bytes beginning with {message.body[:30]!r}"


class Served:
    """An instance that serves one app, and the app's repository."""

    def __init__(self, instance: Instance, repository: Repository) -> None:
        self.instance = instance
        self._repository = repository
        (repository.folder / "www/cgi-bin/count").chmod(0o755)
        instance.create_app("app", repository.file_url, healthcheck="/health")
        self.deploy("v-0")

    def commit(self, name: str) -> None:
        self._repository.commit(version(name), name)

    def deploy(self, name: str) -> None:
        self.commit(name)
        ended = self.instance.deploy("app")
        assert ended["status"] == "running", ended["error"]

    def load(self) -> Load:
        return Load(self.instance.http_port, HOST, is_whole, PATHS, "/cgi-bin/count").visitors(6, 3, 4)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """With one proxy, as it is by default."""
    folder = tmp_path_factory.mktemp("single")
    with running(folder, deploy__drain_timeout=str(DRAIN_SECONDS)) as instance:
        yield Served(instance, Repository(folder / "repository", version("v-0")))


@pytest.fixture(scope="module")
def double(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """With two proxies."""
    folder = tmp_path_factory.mktemp("double")
    with running(folder, deploy__drain_timeout=str(DRAIN_SECONDS), proxy__workers="2") as instance:
        wait_for(lambda: len(adopted(instance)) == 2, what="both proxies")
        yield Served(instance, Repository(folder / "repository", version("v-0")))


@pytest.fixture
def backend() -> Iterator[Callable[..., Backend]]:
    """A server of ours, for routes made by hand."""
    with contextlib.ExitStack() as stack:

        def begin(answer: Answer | bytes) -> Backend:
            made = Backend(answer)
            stack.callback(made.close)
            return made

        yield begin


def proxies(instance: Instance) -> set[int]:
    """The process ids of all proxies, old ones that drain included."""
    assert instance.process is not None
    found = set()
    for pid in Path(f"/proc/{instance.process.pid}/task/{instance.process.pid}/children").read_text().split():
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().startswith("rivetr-proxy"):
                found.add(int(pid))
    return found


def adopted(instance: Instance) -> dict[int, int]:
    """The generation that each living proxy acknowledged."""
    alive = proxies(instance)
    with closing(contract.open_state(instance.data_dir / "proxy.db", read_only=True)) as state:
        return {worker.pid: worker.adopted for worker in contract.workers(state) if worker.pid in alive}


def generation(instance: Instance) -> int:
    """The one that was published last."""
    with closing(contract.open_routes(instance.data_dir / "routes.db", read_only=True)) as routes:
        return contract.generation(routes)


def by_hand(instance: Instance, host: str, address: str) -> None:
    """A route that needs no container."""
    answer = instance.call("POST", "/api/routes", {"domain": host, "backends": [address]})
    assert answer.status == 201, answer.text


def held(pid: int) -> set[str]:
    """The sockets and files that a process has open."""
    found = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.add(os.readlink(descriptor))
    return found


def sockets(pid: int) -> Iterator[tuple[int, int, bool]]:
    """The TCP sockets of a process: local port, the other side's, whether it listens."""
    mine = held(pid)
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if f"socket:[{fields[9]}]" in mine:
            here, there = (int(fields[n].rpartition(":")[2], 16) for n in (1, 2))
            yield here, there, fields[3] == "0A"


def listening(pid: int) -> set[int]:
    """The ports that a process accepts connections at."""
    return {here for here, _, listens in sockets(pid) if listens}


def clients_of(instance: Instance, pid: int) -> set[int]:
    """The ports of the clients whose connections a proxy process holds."""
    return {there for here, there, listens in sockets(pid) if here == instance.http_port and not listens}


def test_deployments_in_a_row_under_load_lose_nothing(single: Served) -> None:
    versions = Versions()
    versions.switch("v-0", lambda: None)
    with single.load() as load:
        for turn in range(1, 4):
            load.more(30)
            name = f"v-{turn}"
            versions.switch(name, lambda name=name: single.deploy(name))  # type: ignore[misc]
        load.more(30)
    assert not load.failures, load.told()
    wrong = [
        f"{got.kind} {got.path}: {complaint}"
        for got in load.answers
        if (complaint := versions.wrong(version_of(got.message), got.sent, got.ended))
    ]
    assert not wrong, "\n".join(wrong[:10])
    assert {version_of(got.message) for got in load.answers} == {"v-0", "v-1", "v-2", "v-3"}
    assert min(load.counts()[kind] for kind in ("keep-alive", "new connection", "upload")) > 10, load.told()


def test_hangup_replaces_the_proxy_under_load(single: Served, backend: Make) -> None:
    go_on = threading.Event()

    def answer(_request: Message, wire: Wire) -> bytes:
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nlong ")
        assert go_on.wait(20)
        return b"one"

    instance = single.instance
    by_hand(instance, "long.test", backend(answer).address)
    (old,) = proxies(instance)
    assert instance.process is not None
    with single.load() as load, connect(instance.http_port) as long:
        load.more(30)
        long.send(get("long.test"))
        assert long.head().status == 200
        instance.process.send_signal(signal.SIGHUP)
        (new,) = wait_for(lambda: proxies(instance) - {old}, what="another proxy")
        wait_for(lambda: instance.http_port not in listening(old), what="the old one to accept no more")
        begun = time.monotonic()
        load.more(30)
        # What began in the old one ends there.
        assert proxies(instance) == {old, new}
        go_on.set()
        assert long.exactly(8) == b"long one"
        # The client keeps that connection and asks no more: the longest that the old one has to wait.
        wait_for(lambda: proxies(instance) == {new}, DRAIN_SECONDS + 3, "the old one to end")
        assert time.monotonic() - begun < DRAIN_SECONDS + 3
        load.more(30)
    assert not load.failures, load.told()
    # Those that were kept have heard that they should come again.
    assert any(got.kind == "keep-alive" and "close" in got.message.all("connection") for got in load.answers)
    assert set(adopted(instance)) == {new}


def test_a_killed_proxy_costs_only_what_was_in_flight_in_it(double: Served) -> None:
    instance = double.instance
    before = proxies(instance)
    assert len(before) == 2
    with double.load() as load:
        load.more(60)
        wait_for(lambda: all(clients_of(instance, pid) for pid in before), what="clients in both")
        killed = max(before, key=lambda pid: len(clients_of(instance, pid)))
        # Stopped for a moment, so that it is certain whose requests are in it.
        os.kill(killed, signal.SIGSTOP)
        wait_for(lambda: Path(f"/proc/{killed}/stat").read_text().split()[2] == "T", what="the proxy to stop")
        inside = clients_of(instance, killed)
        os.kill(killed, signal.SIGKILL)
        died = time.monotonic()
        load.more(10)
        answered = time.monotonic() - died
        wait_for(lambda: len(adopted(instance)) == 2 and killed not in adopted(instance), what="a new proxy")
        back = time.monotonic() - died
        load.more(60)
    lost = [failure for failure in load.failures if failure.port not in inside or failure.sent > died]
    assert not lost, load.told(lost)
    assert len({failure.port for failure in load.failures}) == len(load.failures) <= len(inside), load.told()
    assert answered < 5
    assert back < 10
    (left,) = before - {killed}
    assert left in proxies(instance)
    assert set(adopted(instance).values()) == {generation(instance)}


@contextlib.contextmanager
def one_stopped(instance: Instance) -> Iterator[tuple[int, int]]:
    """One of two proxies does nothing meanwhile; gives it, and the other one."""
    stopped, going = sorted(proxies(instance))
    os.kill(stopped, signal.SIGSTOP)
    try:
        yield stopped, going
    finally:
        os.kill(stopped, signal.SIGCONT)


def test_a_route_made_by_hand_is_adopted_by_both_proxies(double: Served, backend: Make) -> None:
    instance = double.instance
    for number in range(5):
        by_hand(instance, f"both-{number}.test", backend(ok(b"x")).address)
        assert set(adopted(instance).values()) == {generation(instance)}
        assert {instance.visit(f"both-{number}.test").text for _ in range(10)} == {"x"}


def test_a_deployment_waits_until_both_proxies_have_adopted_it(double: Served) -> None:
    instance = double.instance
    before = generation(instance)
    wait_for(lambda: set(adopted(instance).values()) == {before}, what="both to be at the same")
    double.commit("new")
    with one_stopped(instance) as (stopped, going):
        asked = instance.call("POST", "/api/apps/app/deploy").json
        wait_for(lambda: adopted(instance)[going] > before, 60, "the one that runs to adopt it")
        time.sleep(0.3)
        # It is served, but not by both: the old version stays, and the deployment is not at its end.
        assert instance.get(f"/api/deployments/{asked['id']}")["status"] == "switching"
        assert adopted(instance)[stopped] == before
    ended = instance.ended(asked["id"])
    assert ended["status"] == "running", ended["error"]
    assert set(adopted(instance).values()) == {generation(instance)}
    assert {instance.visit(HOST).text for _ in range(20)} == {"new"}
