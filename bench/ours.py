"""Our proxy as the control plane runs it, with any number of routes published through `proxy.contract`."""

import contextlib
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from proxy import contract
from tests.instance import wait_for
from tests.proxy.process import Proxy


class Ours:
    """A proxy process and its route table."""

    def __init__(self, folder: Path) -> None:
        self._proxy = Proxy(folder, "--log-level", "warning")

    def start(self) -> None:
        self._proxy.start()

    @property
    def pid(self) -> int:
        return self._proxy.pid

    @property
    def port(self) -> int:
        return self._proxy.port

    @property
    def has_ended(self) -> bool:
        return self._proxy.has_ended()

    @property
    def log(self) -> str:
        return self._proxy.log

    def publish(self, hosts: Sequence[str], *upstreams: str, waits: bool = True) -> None:
        """Make the table these hosts, all with the same backends."""
        backends = tuple(contract.Backend(address) for address in upstreams)
        self.publish_routes([contract.Route(host, "/", backends) for host in hosts], waits)

    def publish_routes(self, routes: Sequence[contract.Route], waits: bool = True) -> None:
        """Make the table equal `routes`, tell the proxy, and wait until it is adopted."""
        with closing(contract.open_routes(self._proxy.routes_path)) as table:
            generation = contract.publish(table, contract.Snapshot(tuple(routes)))
        with self._proxy.state() as state:
            contract.wake(state, self._proxy.routes_path)
        if waits:
            wait_for(lambda: self._proxy.adopted() >= generation, 60, what="the routes to be adopted")

    @contextlib.contextmanager
    def changing(self, hosts: Sequence[str], upstream: str, seconds: float) -> Iterator[list[int]]:
        """Publish a changed table every `seconds` while the block runs; gives a list of one, the changes so far.

        Each change takes a host away or brings it back, and moves another to a second backend address.
        """
        ended, count = threading.Event(), [0]

        def change() -> None:
            begun = time.monotonic()
            while not ended.wait(max(0.0, begun + (count[0] + 1) * seconds - time.monotonic())):
                count[0] += 1
                routes = [contract.Route(host, "/", (contract.Backend(upstream),)) for host in hosts]
                routes[1] = contract.Route(hosts[1], "/", (contract.Backend(f"127.0.0.1:{count[0] % 2 + 1}"),))
                self.publish_routes(routes[: len(routes) - count[0] % 2], waits=False)

        thread = threading.Thread(target=change)
        thread.start()
        try:
            yield count
        finally:
            ended.set()
            thread.join()

    def end(self) -> None:
        """SIGTERM, and SIGKILL when that takes too long."""
        process = self._proxy.process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


@contextlib.contextmanager
def running_ours(folder: Path, upstream: int, hosts: Sequence[str]) -> Iterator[Ours]:
    """Our proxy in front of the upstream's port, ended afterwards."""
    ours = Ours(folder)
    try:
        ours.start()
        ours.publish(hosts, f"127.0.0.1:{upstream}")
        yield ours
    finally:
        ours.end()
