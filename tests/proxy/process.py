"""A real proxy process with route and state files of its own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from proxy import contract
from tests.instance import ROOT, free_port, wait_for
from tests.proxy.wire import Message, Wire, connect, get

# `python -m proxy` with shorter time-outs than anybody would wait for in a test.
_WITH_CONSTANTS = """
import importlib, json, sys
for name, value in json.loads(sys.argv.pop(1)).items():
    module, _, constant = name.rpartition(".")
    loaded = importlib.import_module(module)
    assert hasattr(loaded, constant), name
    setattr(loaded, constant, value)
from proxy.__main__ import main
sys.exit(main())
"""


class Proxy:
    """One proxy process; `constants` are module constants to start it with (`proxy.exchange.FIRST_BYTE_SECONDS`)."""

    def __init__(
        self, folder: Path, *options: str, state: Path | None = None, constants: dict[str, float] | None = None
    ) -> None:
        self.folder = folder
        self.routes_path, self.state_path = folder / "routes.db", state or folder / "proxy.db"
        self.port, self.tls_port = free_port(), free_port()
        self.options = options
        self.constants = constants
        self._routes: dict[tuple[str, str], contract.Route] = {}
        self._certificates: dict[str, contract.CertificateFiles] = {}
        self._challenges: dict[str, str] = {}
        self._log_file = folder / "proxy.log"
        self.process: subprocess.Popen[bytes] | None = None

    def arguments(self) -> list[str]:
        return [
            *("--routes", str(self.routes_path), "--state", str(self.state_path), "--host", "127.0.0.1"),
            *("--http-port", str(self.port), *self.options),
        ]

    def launch(self) -> None:
        """Start it without waiting."""
        start = ["-OO", "-m", "proxy"]
        if self.constants:
            start = ["-c", _WITH_CONSTANTS, json.dumps(self.constants)]
        with self._log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *start, *self.arguments()], cwd=ROOT, stdout=log, stderr=log
            )

    def start(self) -> "Proxy":
        """Start it and wait until it answers."""
        self.launch()
        wait_for(lambda: self._answers() or self.has_ended(), what="the proxy to answer")
        assert not self.has_ended(), self.log
        return self

    def _answers(self) -> bool:
        try:
            return self.ask(get("is-it-there.test")).status > 0
        except (OSError, EOFError):
            return False

    def has_ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    @property
    def log(self) -> str:
        return self._log_file.read_text()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; gives its exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(20)

    def resident_peak(self) -> int:
        """The most memory it ever had resident, in bytes."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))

    def descriptors(self) -> int:
        """How many files and sockets it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def connect(self) -> Wire:
        return connect(self.port)

    def ask(self, request: bytes, has_body: bool = True) -> Message:
        """One request on a connection of its own; gives the first response."""
        with self.connect() as wire:
            wire.send(request)
            return wire.response(has_body)

    def route(
        self, host: str, *addresses: str, prefix: str = "/", policy: dict[str, Any] | None = None, waits: bool = True
    ) -> int:
        """Publish these backends for `host` beside what was published before; gives the generation."""
        backends = tuple(contract.Backend(address) for address in addresses)
        self._routes[host, prefix] = contract.Route(host, prefix, backends, policy or {})
        return self.publish(waits)

    def publish_all(self, routes: Iterable[contract.Route]) -> int:
        """Publish these beside what was published before; gives the generation."""
        self._routes |= {(route.host, route.path_prefix): route for route in routes}
        return self.publish()

    def unroute(self, host: str) -> int:
        """Publish everything but `host`."""
        self._routes = {key: route for key, route in self._routes.items() if key[0] != host}
        return self.publish()

    def certify(self, host: str, chain: Path, key: Path) -> int:
        self._certificates[host] = contract.CertificateFiles(host, str(chain), str(key))
        return self.publish()

    def challenge(self, token: str, answer: str) -> int:
        self._challenges[token] = answer
        return self.publish()

    def publish(self, waits: bool = True) -> int:
        """Publish everything, as the control plane does, and wait until it is adopted."""
        snapshot = contract.Snapshot(
            tuple(self._routes.values()), tuple(self._certificates.values()), tuple(self._challenges.items())
        )
        with closing(contract.open_routes(self.routes_path)) as routes:
            generation = contract.publish(routes, snapshot)
        if waits:
            with self.state() as state:
                contract.wake(state, self.routes_path)
            wait_for(lambda: self.adopted() >= generation, what="the routes to be adopted")
        return generation

    @contextlib.contextmanager
    def state(self) -> Iterator[Any]:
        with closing(contract.open_state(self.state_path)) as state:
            yield state

    def worker(self) -> contract.Worker | None:
        """What this process acknowledged last."""
        with self.state() as state:
            return next((worker for worker in contract.workers(state) if worker.pid == self.pid), None)

    def adopted(self) -> int:
        worker = self.worker()
        return worker.adopted if worker else 0

    def drained(self) -> int:
        worker = self.worker()
        return worker.drained if worker else 0

    def seen(self) -> dict[str, tuple[str, int]]:
        """Health and requests in flight by address, as last reported."""
        with self.state() as state:
            return {b.address: (b.health, b.in_flight) for b in contract.backend_states(state) if b.pid == self.pid}


def tls_options(proxy_port: int, chain: Path, key: Path) -> Iterable[str]:
    """The options that switch HTTPS on."""
    return ("--https-port", str(proxy_port), "--default-cert", str(chain), "--default-key", str(key))


@contextlib.contextmanager
def running(
    folder: Path, *options: str, state: Path | None = None, constants: dict[str, float] | None = None
) -> Iterator[Proxy]:
    """A started proxy, ended afterwards."""
    proxy = Proxy(folder, *options, state=state, constants=constants)
    try:
        yield proxy.start()
    finally:
        if proxy.process is not None and not proxy.has_ended():
            proxy.process.kill()
            proxy.process.wait(20)
