"""The container engine and the programs that Rivetr starts."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from rivetr import config, shell
from rivetr.cli.checks.finding import Finding, ok, problem, warning
from rivetr.errors import RivetrError, RuntimeUnavailable

# The first that knows http.curloptResolve, with which a checked address stays the one that is used.
_OLDEST_GIT = (2, 37)
_SECONDS = 10
# linux/capability.h: CAP_SYS_RESOURCE.
_RESOURCE_CAPABILITY = 24
_DROP_IN = "/etc/containers/containers.conf.d/rivetr.conf"


def engine(settings: config.Settings) -> Iterator[Finding]:
    """Whether an engine answers, which one, and otherwise what to install or start."""
    from rivetr.runtimes import detect

    try:
        version = detect.current(settings.runtime).version()
    except RuntimeUnavailable as error:
        yield problem("container engine", error.message, _how_to_start())
    except RivetrError as error:
        yield problem("container engine", error.message, "Set runtime.type to one of those it names.")
    else:
        yield ok("container engine", f"{version.engine} {version.version} answers (API {version.api}).")
        return
    if shutil.which("podman"):
        yield from _podman()


def _how_to_start() -> str:
    if not shutil.which("dockerd"):
        return "On Debian: apt-get install docker.io, then systemctl enable --now docker."
    if Path("/run/systemd/system").exists():
        return "Run: systemctl enable --now docker (it is installed)."
    return "Run as root: dockerd >/var/log/dockerd.log 2>&1 & (it is installed; there is no systemd here)."


def _podman() -> Iterator[Finding]:
    """Whether Podman could run containers here; crun refuses machines with both kinds of control groups."""
    settings = []
    if not _may_raise_limits():
        settings.append('[containers] default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]')
    if _has_mixed_groups():
        settings.append('[engine] runtime = "runc", cgroup_manager = "cgroupfs", events_logger = "file"')
    version = _version_text("podman")
    if settings and not Path(_DROP_IN).exists():
        mend = f"Write to {_DROP_IN}: {'; '.join(settings)}."
        yield warning("podman", f"Podman {version} needs settings of its own on this machine.", mend)
    else:
        yield ok("podman", f"Podman {version} is installed, and this machine suits it.")


def _may_raise_limits() -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapBnd:"):
            return bool(int(line.split()[1], 16) >> _RESOURCE_CAPABILITY & 1)
    return False


def _has_mixed_groups() -> bool:
    return Path("/sys/fs/cgroup").is_dir() and not Path("/sys/fs/cgroup/cgroup.controllers").exists()


def git(settings: config.Settings) -> Iterator[Finding]:
    """Whether Git is there and new enough, and ssh where addresses may need it."""
    if not shutil.which("git"):
        yield problem("git", "Git is not installed, so no source can be fetched.", "On Debian: apt-get install git.")
        return
    text = _version_text("git")
    found = tuple(int(number) for number in re.findall(r"\d+", text)[:2])
    if found < _OLDEST_GIT:
        oldest = ".".join(map(str, _OLDEST_GIT))
        yield problem("git", f"Git {text or 'of unknown version'} is too old.", f"Install Git {oldest} or newer.")
    else:
        yield ok("git", f"Git {text} is installed.")
    if "ssh" in settings.git.schemes and not shutil.which("ssh"):
        message = "ssh is not installed, so addresses such as git@github.com:you/app.git cannot be fetched."
        yield warning("ssh", message, 'On Debian: apt-get install openssh-client, or take "ssh" out of git.schemes.')


def buildkit(settings: config.Settings) -> Iterator[Finding]:
    """Whether Dockerfiles that need BuildKit can be built."""
    from rivetr.runtimes.buildkit_client import find_client

    client = find_client(os.environ.get("PATH", ""))
    if client:
        yield ok("buildkit", f"{client} builds the Dockerfiles that need BuildKit (RUN --mount and the like).")
    else:
        message = "No docker command line here can use BuildKit, so Dockerfiles that need it cannot be built."
        mend = (
            "Install docker-buildx (in Docker's own packages: docker-buildx-plugin); Debian 12's docker.io needs none."
        )
        yield warning("buildkit", message, mend)


def _version_text(program: str) -> str:
    try:
        done = shell.run([program, "--version"], timeout=_SECONDS)
    except OSError:
        return ""
    match = re.search(r"\d+(\.\d+)+", done.output)
    return match[0] if match and done.status == 0 else ""
