"""Time from POST deploy to the new version answering through the proxy, beside the same done by hand.

`make bench-deploy [ROUNDS=n]`. The floor is the engine's own command line: build, run, poll until the new
container answers. Both take the same repository; cached (nothing changed, so every layer is there) and
uncached (one layer changed). Rounds alternate, so that a noisy machine disturbs both alike. The process that
starts deployments lingers for a minute after one, so the first after a longer rest has a row of its own. The app
answers with its container's name, so that a new version is known by its answer alone.
"""

import argparse
import os
import signal
import statistics
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable
from functools import partial
from http.client import HTTPException
from pathlib import Path

from bench.processes import children
from bench.table import show
from tests.git_server import Repository
from tests.instance import Instance, fetch, running

NAME = "bench"
POLL_SECONDS = 0.005
CACHED, UNCACHED, RESTED = "cached", "uncached", "cached, after a rest"
DOCKERFILE = """FROM busybox:latest
COPY www /www
CMD ["sh", "-c", "hostname >/www/index.html; exec httpd -f -p 3000 -h /www"]
"""


def main() -> None:
    """Run the rounds and print medians and their difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as instance:
        source = Repository(Path(folder) / "source", {"Dockerfile": DOCKERFILE, "www/health": "ok"})
        instance.create_app(NAME, source.file_url, healthcheck="/health")
        instance.deploy(NAME)
        rows = [_measure(kind, instance, source, rounds) for kind in (CACHED, UNCACHED, RESTED)]
    show("Seconds until the new version answers (median, least to most)", _HEAD, rows)


_HEAD = ("", "rivetr", "by hand", "difference", "ratio", "rivetr range", "by hand range")


def _measure(kind: str, instance: Instance, source: Repository, rounds: int) -> list[str]:
    ours: list[float] = []
    floor: list[float] = []
    for _ in range(rounds):
        for times, take in ((floor, partial(_by_hand, source)), (ours, partial(_by_rivetr, instance))):
            if kind == UNCACHED:
                source.commit({"www/layer": uuid.uuid4().hex}, "Another layer")
            if kind == RESTED:
                _end_job_server(instance)
            times.append(take())
    left, right = statistics.median(ours), statistics.median(floor)
    return [
        kind,
        f"{left:.2f}",
        f"{right:.2f}",
        f"{left - right:+.2f}",
        f"{left / right:.2f}",
        f"{min(ours):.2f} to {max(ours):.2f}",
        f"{min(floor):.2f} to {max(floor):.2f}",
    ]


def _end_job_server(instance: Instance) -> None:
    """What a minute of rest does."""
    for pid in children(instance.children()["worker"]):
        os.kill(pid, signal.SIGKILL)


def _by_rivetr(instance: Instance) -> float:
    old = instance.visit(f"{NAME}.localhost").text
    begun = time.monotonic()
    answer = instance.call("POST", f"/api/apps/{NAME}/deploy")
    assert answer.status == 202, answer.text
    _poll(lambda: (page := instance.visit(f"{NAME}.localhost")).status == 200 and page.text != old)
    seconds = time.monotonic() - begun
    # What comes after the answer (draining, stopping the old one) must not run into the next round.
    instance.ended(answer.json["id"])
    return seconds


def _by_hand(source: Repository) -> float:
    name = f"bench-{uuid.uuid4().hex[:8]}"
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    begun = time.monotonic()
    _run(["git", "clone", "--quiet", "--depth", "1", source.file_url, f"{source.folder}-{name}"], environment)
    _run(["docker", "build", "--quiet", "--tag", name, f"{source.folder}-{name}"], environment)
    id = _run(["docker", "run", "--detach", "--init", "--name", name, name], environment)
    address = _run(["docker", "inspect", "--format", "{{.NetworkSettings.IPAddress}}", name], environment)
    _poll(lambda: fetch(3000, host=address, address=address).text.strip() == id[:12])
    seconds = time.monotonic() - begun
    _run(["docker", "rm", "--force", name], environment)
    _run(["docker", "rmi", "--no-prune", name], environment)
    return seconds


def _run(argv: list[str], environment: dict[str, str]) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True, env=environment).stdout.strip()


def _poll(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if look():
                return
        except (OSError, HTTPException):
            # It does not listen yet.
            pass
        time.sleep(POLL_SECONDS)
    raise TimeoutError("no answer within 60 s")


if __name__ == "__main__":
    main()
