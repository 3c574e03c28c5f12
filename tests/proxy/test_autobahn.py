"""The Autobahn cases for WebSockets, once without and once through the proxy (R25)."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from websockets.sync.server import ServerConnection, serve

from tests.proxy.process import Proxy

# Limits of size and time, and compression, are not about the proxy.
SKIPPED = ("9.*", "12.*", "13.*")
CASES = 247
PASSED = ("OK", "NON-STRICT", "INFORMATIONAL")


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that says what it is told."""

    def answer(connection: ServerConnection) -> None:
        for message in connection:
            connection.send(message)

    with serve(answer, "127.0.0.1", 0, max_size=None, compression=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield int(server.socket.getsockname()[1])
        server.shutdown()
        thread.join()


def _failed(port: int, folder: Path) -> set[str]:
    """The cases that a server on this port does not pass."""
    options = [option for pattern in SKIPPED for option in ("-x", pattern)]
    tool = Path(sys.executable).parent / "kosoku"
    # Its exit status tells of failed cases, of which there is one.
    subprocess.run(
        [tool, "-p", "4", *options, "-o", folder, f"127.0.0.1:{port}"], timeout=120, check=False, capture_output=True
    )
    (cases,) = json.loads((folder / "index.json").read_text()).values()
    assert len(cases) == CASES
    return {name for name, case in cases.items() if case["behavior"] not in PASSED}


def test_r25_all_autobahn_cases_end_as_without_a_proxy(start: Callable[..., Proxy], echo: int, tmp_path: Path) -> None:
    proxy = start()
    proxy.route("*", f"127.0.0.1:{echo}")
    directly = _failed(echo, tmp_path / "directly")
    assert directly <= {"7.1.5"}
    assert _failed(proxy.port, tmp_path / "through") == directly
