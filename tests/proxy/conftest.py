"""A proxy that most tests share, and ones of their own for tests that break or end them."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.proxy.process import Proxy, running
from tests.proxy.wire import Answer, Backend

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A running proxy whose routes tests only add to."""
    with running(tmp_path_factory.mktemp("proxy")) as proxy:
        yield proxy


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Proxy]]:
    """Start a proxy of this test's own: `start(*options, constants=...)`."""
    with ExitStack() as stack:

        def begin(*options: str, constants: dict[str, float] | None = None, state: Path | None = None) -> Proxy:
            return stack.enter_context(running(tmp_path, *options, constants=constants, state=state))

        yield begin


@pytest.fixture
def backend() -> Iterator[Callable[..., Backend]]:
    """Start a backend: `backend(answer, reads_body=True)`."""
    with ExitStack() as stack:

        def begin(answer: Answer | bytes, reads_body: bool = True) -> Backend:
            made = Backend(answer, reads_body)
            stack.callback(made.close)
            return made

        yield begin


@pytest.fixture
def host() -> str:
    """A host name that no other test uses."""
    return f"host-{next(_numbers)}.test"
