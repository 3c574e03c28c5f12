"""Dockerfiles that need BuildKit, built by the real engine; nothing is stubbed.

Everything made here carries the label of this run and is removed by it.
"""

import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from rivetr import config
from rivetr.errors import BuildFailed, Cancelled, RuntimeFailed
from rivetr.runtimes.base import LABEL_INSTANCE, BuildSpec, Image, Limits, Log, RunSpec, Runtime
from rivetr.runtimes.detect import current

MINE = {LABEL_INSTANCE: f"buildkit-{uuid.uuid4().hex[:12]}"}
PREFIX = MINE[LABEL_INSTANCE]
MOUNT = "RUN --mount=type=cache,target=/c"
Build = Callable[..., Image]


@pytest.fixture(scope="module")
def runtime() -> Iterator[Runtime]:
    runtime = current(config.Runtime(type="docker"))
    assert runtime.has_image("busybox:latest"), "these tests need the local image busybox:latest"
    runtime.ensure_network(PREFIX, MINE)
    yield runtime
    for container in runtime.containers(MINE):
        runtime.remove(container.id)
    runtime.remove_network(PREFIX)
    for image in runtime.images(MINE):
        with suppress(RuntimeFailed):
            runtime.remove_image(image.ref)


@pytest.fixture
def build(runtime: Runtime, tmp_path: Path) -> Build:
    def build(lines: str, log: Log = lambda line: None, base: str = "busybox", **args: str) -> Image:
        (tmp_path / "Dockerfile").write_text(f"FROM {base}\n{lines}\n")
        tag = f"{PREFIX}-{uuid.uuid4().hex[:6]}:1"
        return runtime.build(BuildSpec(tmp_path, "Dockerfile", tag, MINE, Limits(1, 1 << 29), args), log)

    return build


def fresh(seconds: int) -> str:
    """A command line that the cache does not know, and that `ps` shows while it runs."""
    return f"sleep {seconds}.{uuid.uuid4().int % 10**9:09}"


def is_running(command: str) -> bool:
    wanted = command.replace(" ", "\0")
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if path.read_text(errors="replace").rstrip("\0") == wanted:
                return True
    return False


def until(ask: Callable[[], bool], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while not ask() and time.monotonic() < end:
        time.sleep(0.05)
    return ask()


def test_a_build_with_everything_in_the_image(runtime: Runtime, build: Build, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    (tmp_path / "left-out").write_text("left out")
    (tmp_path / ".dockerignore").write_text("left-out\n")
    # The first entry of the context: longer than what the client looks at to know a tar.
    (tmp_path / ("+" * 150)).mkdir()
    (tmp_path / ("+" * 150) / ("x" * 200)).write_text("long")
    seen: list[str] = []
    lines = f"ARG WORD=none\nCOPY --chmod=640 . /in\n{MOUNT} echo $WORD > /word && ls /in > /list"
    image = build(f'{lines}\nCMD ["sleep", "1000"]', seen.append, WORD="--a=b c")
    assert seen[0] == (
        "Building with BuildKit because of COPY --chmod in line 3 of the Dockerfile; "
        "the memory and CPU limits of builds do not hold there."
    )
    assert image in runtime.images(MINE) and image.digest.startswith("sha256:")
    container = runtime.run(RunSpec(f"{PREFIX}-all", image.ref, PREFIX, labels=MINE))
    status, output = runtime.exec(container.id, ["sh", "-c", "cat /word /list; stat -c %a /in/kept"])
    assert (status, output.split("\n")[0], output.split()[-1]) == (0, "--a=b c", "640")
    assert "kept" in output and "+++" in output and "left-out" not in output


def test_lines_arrive_as_they_are_printed(build: Build) -> None:
    seen: dict[str, float] = {}
    build(
        f"{MOUNT} echo 'fir''st'; {fresh(1)}; echo 'sec''ond'",
        lambda line: seen.setdefault(line.split(" ")[-1], time.monotonic()) and None,
    )
    assert seen["second"] - seen["first"] > 0.7


def test_a_here_document_is_built_or_what_to_do_is_said(build: Build) -> None:
    # The frontend inside engines before 23 does not know them.
    version = current(config.Runtime(type="docker")).version().version
    lines = f"RUN <<EOF\necho {uuid.uuid4().hex}\nEOF"
    if int(version.split(".")[0]) >= 23:
        build(lines)
        return
    with pytest.raises(BuildFailed, match=r"Line 3 of the Dockerfile was not understood: unknown instruction: ECHO"):
        build(lines)


def test_a_failing_step_says_which(build: Build) -> None:
    seen: list[str] = []
    with pytest.raises(BuildFailed) as failure:
        build(f"{MOUNT} echo ouch >&2; exit 7", seen.append)
    assert failure.value.message == f"The step '{MOUNT} echo ouch >&2; exit 7' failed with exit code 7."
    assert any(line.endswith(" ouch") for line in seen)


def test_a_base_image_that_is_nowhere(build: Build) -> None:
    with pytest.raises(BuildFailed, match=rf"The base image {PREFIX}-none:1 is not on this machine and could not"):
        build(f"{MOUNT} true", base=f"{PREFIX}-none:1")


def test_a_file_that_is_not_there(build: Build) -> None:
    with pytest.raises(BuildFailed, match=r"The step 'COPY nothing /x' failed: .*/nothing.* not found"):
        build(f"{MOUNT} true\nCOPY nothing /x")


def test_leaving_early_ends_the_build(build: Build) -> None:
    command = fresh(1000)

    def log(line: str) -> None:
        if line.endswith(" begun"):
            assert until(lambda: is_running(command))
            raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        build(f"{MOUNT} echo beg''un; {command}", log)
    assert until(lambda: not is_running(command))


def test_a_signal_ends_the_build(tmp_path: Path, runtime: Runtime) -> None:
    command = fresh(1000)
    (tmp_path / "Dockerfile").write_text(f"FROM busybox\n{MOUNT} {command}\n")
    program = f"""
import signal
from pathlib import Path
from rivetr import config
from rivetr.runtimes.base import BuildSpec
from rivetr.runtimes.detect import current
def leave(*_):
    raise SystemExit(9)
signal.signal(signal.SIGTERM, leave)
spec = BuildSpec(Path({str(tmp_path)!r}), "Dockerfile", "{PREFIX}-signal:1", {MINE!r})
current(config.Runtime()).build(spec, print)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL)
    try:
        assert until(lambda: is_running(command))
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 9
    finally:
        process.kill()
    assert until(lambda: not is_running(command))
    assert not runtime.has_image(f"{PREFIX}-signal:1")


def test_without_a_client_it_says_what_to_do(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BuildFailed) as failure:
        build(f"RUN true\n{MOUNT} true")
    assert failure.value.message == (
        "Building needs BuildKit because of RUN --mount in line 3 of the Dockerfile, and no docker command line "
        "here has it: install docker-buildx (in Docker's own packages: docker-buildx-plugin), or write that line "
        "another way."
    )


def test_others_go_on_with_the_classic_builder(build: Build) -> None:
    seen: list[str] = []
    build("# syntax=docker/dockerfile:1\nRUN true", seen.append)
    assert seen[0].startswith("Step 1/")
