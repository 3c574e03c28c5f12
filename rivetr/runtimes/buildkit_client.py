"""Which docker command line on this machine can build with BuildKit, and the environment it gets."""

import os
import re
import shutil

from rivetr import shell

_VERSION = re.compile(r"Docker version (\d+)\.")
# From this version on the client is a plugin of its own, docker-buildx.
_FIRST_WITHOUT_CLIENT = 23
_SECONDS = 10


def find_client(path: str) -> str | None:
    """The first `docker` in the folders of `path` that has a BuildKit client built in or as its plugin."""
    # Several folders may lead to the same program, which is asked once.
    found: dict[str, str] = {}
    for folder in path.split(os.pathsep):
        program = shutil.which("docker", path=folder) if os.path.isabs(folder) else None
        if program:
            found.setdefault(os.path.realpath(program), program)
    return next(filter(_can_build, found.values()), None)


def client_environment() -> dict[str, str]:
    """What the command line may know: its programs and plugins, passwords for registries; nothing of ours."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    # The builder inside the engine and a plain image, whatever was last chosen with `docker buildx use`.
    return kept | {"DOCKER_BUILDKIT": "1", "BUILDX_BUILDER": "default", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}


def _can_build(program: str) -> bool:
    # Podman's stand-in has the same name, but says another.
    version = _VERSION.match(_output(program, "--version"))
    if not version:
        return False
    return int(version[1]) < _FIRST_WITHOUT_CLIENT or "buildx" in _output(program, "buildx", "version")


def _output(program: str, *arguments: str) -> str:
    """What it prints, or nothing when it fails."""
    try:
        done = shell.run([program, *arguments], env=client_environment(), timeout=_SECONDS)
    except (OSError, shell.TimedOut):
        return ""
    return done.output if done.status == 0 else ""
