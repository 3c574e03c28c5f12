"""A whole Rivetr of its own, for tests and benchmarks: the real processes on free ports and an empty data folder."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parent.parent
ADMIN_TOKEN = "rvt_test-administrator-0123456789abcdef"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; `headers` by lower-case name."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(look: Callable[[], T | None], seconds: float = 20, what: str = "it") -> T:
    """The first true thing that `look` gives; AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds} s for {what} in vain")


def fetch(
    port: int,
    path: str = "/",
    host: str = "",
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    address: str = "127.0.0.1",
) -> Answer:
    """One request to a port of this machine, with the Host header `host`."""
    connection = http.client.HTTPConnection(address, port, timeout=60)
    try:
        given = {"Host": host or f"127.0.0.1:{port}", **(headers or {})}
        connection.request(method, path, body, given)
        with connection.getresponse() as response:
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())
    finally:
        connection.close()


class Instance:
    """A Rivetr started with `rivetr up`; `settings` are named as in the environment (`git__schemes`)."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.api_port, self.http_port, self.https_port = free_port(), free_port(), free_port()
        self.log_file = folder / "up.log"
        values = {
            "server__data_dir": str(folder / "data"),
            "server__host": "127.0.0.1",
            "server__api_port": str(self.api_port),
            "server__proxy_port": str(self.http_port),
            "server__proxy_https_port": str(self.https_port),
            "auth__admin_token": ADMIN_TOKEN,
            "git__schemes": "https,ssh,http,file",
            "git__allow_private_networks": "true",
            **settings,
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RIVETR_")}
        self.environment = {**inherited, **{f"RIVETR_{name.upper()}": value for name, value in values.items()}}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def data_dir(self) -> Path:
        return Path(self.environment["RIVETR_SERVER__DATA_DIR"])

    def start(self) -> "Instance":
        """Start it and wait until web, worker and proxy answer."""
        self.launch()
        wait_for(lambda: self._is_up() or self._has_ended(), 60, "Rivetr to come up")
        assert not self._has_ended(), self.output()
        return self

    def launch(self) -> None:
        """Start it without waiting."""
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-OO", "-m", "rivetr", "up"],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _is_up(self) -> bool:
        try:
            return fetch(self.api_port, "/health").status == 200
        except (OSError, http.client.HTTPException):
            return False

    def _has_ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def output(self) -> str:
        """What it printed so far."""
        return self.log_file.read_text("utf-8", "replace")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> float:
        """End it as Ctrl-C or systemd would; gives the seconds that took."""
        assert self.process is not None
        begun = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(20)
        return time.monotonic() - begun

    def children(self) -> dict[str, int]:
        """Process ids by name: proxy, web and worker, those that live now."""
        assert self.process is not None
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return {
            Path(f"/proc/{pid}/comm").read_text().strip().removeprefix("rivetr-"): int(pid) for pid in listed.split()
        }

    def setup_link(self) -> str:
        """The newest one-time link that was printed."""
        # It is printed a moment after the health check is good.
        return str(wait_for(lambda: re.findall(r"http\S+/setup\?code=\S+", self.output()), 20, "the link")[-1])

    def call(self, method: str, path: str, body: Any = None, token: str | None = ADMIN_TOKEN) -> Answer:
        """One call of the API; `body` is sent as JSON."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body).encode()
        return fetch(self.api_port, path, method=method, body=data, headers=headers)

    def get(self, path: str) -> Any:
        """The JSON of a GET that must succeed."""
        answer = self.call("GET", path)
        assert answer.status == 200, answer.text
        return answer.json

    def visit(self, host: str, path: str = "/", **headers: str) -> Answer:
        """What a visitor of `host` gets through the proxy."""
        return fetch(self.http_port, path, host=host, headers=headers)

    def create_app(self, name: str, git_url: str, **fields: Any) -> dict[str, Any]:
        """A new app that must be accepted."""
        answer = self.call("POST", "/api/apps", {"name": name, "git_url": git_url, **fields})
        assert answer.status == 201, answer.text
        made: dict[str, Any] = answer.json
        return made

    def deploy(self, app: str, ref: str | None = None, seconds: float = 60) -> dict[str, Any]:
        """Deploy and wait for the end, whatever it is."""
        answer = self.call("POST", f"/api/apps/{app}/deploy", {"ref": ref} if ref else None)
        assert answer.status == 202, answer.text
        return self.ended(answer.json["id"], seconds)

    def ended(self, id: str, seconds: float = 60) -> dict[str, Any]:
        """The deployment once it has ended."""

        def look() -> dict[str, Any] | None:
            found: dict[str, Any] = self.get(f"/api/deployments/{id}")
            return found if found["finished_at"] else None

        return wait_for(look, seconds, f"deployment {id} to end")

    def log_of(self, deployment: Mapping[str, Any]) -> str:
        """The log of a deployment as one text."""
        lines = self.get(f"/api/deployments/{deployment['id']}/logs?limit=200")["items"]
        return "\n".join(line["line"] for line in lines)

    def remove_apps(self) -> None:
        """Remove every app with its containers and images."""
        for app in self.get("/api/apps?limit=200")["items"]:
            answer = self.call("DELETE", f"/api/apps/{app['id']}")
            assert answer.status == 204, answer.text


@contextmanager
def running(folder: Path, **settings: str) -> Iterator[Instance]:
    """A started instance, without the bundled example; everything it made is gone afterwards."""
    instance = Instance(folder, **settings).start()
    try:
        yield instance
        instance.remove_apps()
    finally:
        instance.stop()
