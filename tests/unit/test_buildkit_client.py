"""Which of the programs called docker is taken for BuildKit."""

import os
from pathlib import Path

import pytest

from rivetr.runtimes.buildkit_client import client_environment, find_client

OLD = "echo Docker version 20.10.24+dfsg1, build 297e128"
NEW = "echo Docker version 28.2.2, build e6534b4"
PLUGIN = 'if [ "$1" = buildx ]; then echo github.com/docker/buildx v0.24.0; else echo Docker version 28.2.2; fi'
NO_PLUGIN = 'if [ "$1" = buildx ]; then echo docker: unknown command: docker buildx; exit 1; fi; ' + NEW
PODMAN = 'if [ "$1" = buildx ]; then echo buildah 1.28; else echo podman version 4.3.1; fi'


@pytest.mark.parametrize(
    ("programs", "taken"),
    [
        ((), None),
        ((NO_PLUGIN,), None),
        ((NO_PLUGIN, OLD), 1),
        ((PODMAN, "exit 1", PLUGIN, OLD), 2),
        ((PODMAN,), None),
    ],
)
def test_the_first_that_can(tmp_path: Path, programs: tuple[str, ...], taken: int | None) -> None:
    paths = []
    for number, program in enumerate(programs):
        path = tmp_path / str(number) / "docker"
        path.parent.mkdir()
        path.write_text(f"#!/bin/sh\n{program}\n")
        path.chmod(0o755)
        paths.append(path)
    found = find_client(os.pathsep.join(["", ".", *(str(path.parent) for path in paths)]))
    assert found == (None if taken is None else str(paths[taken]))


def test_a_program_that_does_not_run_is_passed_by(tmp_path: Path) -> None:
    (tmp_path / "docker").write_bytes(b"\x7fELF but no more")
    (tmp_path / "docker").chmod(0o755)
    assert find_client(str(tmp_path)) is None


def test_it_learns_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RIVETR_SECRET_KEY", "DOCKER_HOST", "BUILDX_BUILDER"):
        monkeypatch.setenv(name, "ours")
    environment = client_environment()
    assert "ours" not in environment.values()
    assert environment.keys() <= {"PATH", "HOME", "DOCKER_BUILDKIT", "BUILDX_BUILDER", "BUILDX_NO_DEFAULT_ATTESTATIONS"}
