"""One instance and one Git server for all end-to-end tests that do not break what they use."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.git_server import GitServer, Repository, web_app
from tests.instance import Instance, running


@pytest.fixture(scope="session")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder whose repositories the Git server serves."""
    return tmp_path_factory.mktemp("repositories")


@pytest.fixture(scope="session")
def git_server(repositories: Path) -> Iterator[GitServer]:
    """Git over HTTP."""
    server = GitServer(repositories)
    yield server
    server.close()


@pytest.fixture(scope="session")
def rivetr(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """A running instance that the tests share; each makes apps of its own."""
    with running(tmp_path_factory.mktemp("instance")) as instance:
        yield instance


@pytest.fixture
def repository(repositories: Path, request: pytest.FixtureRequest) -> Callable[..., Repository]:
    """Make a repository of this test; without files it holds a small web app."""

    def make(name: str, files: dict[str, str] | None = None) -> Repository:
        return Repository(repositories / f"{name}-{abs(hash(request.node.nodeid)):x}", files or web_app(name))

    return make
