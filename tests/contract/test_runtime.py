"""What every `Runtime` does, asked of the real engines; nothing is stubbed.

Everything made here carries the label of this run and is removed by it.
"""

import http.client
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest

from rivetr import config
from rivetr.errors import RuntimeFailed
from rivetr.runtimes.base import LABEL_INSTANCE, BuildSpec, Container, Limits, LogLine, RunSpec, Runtime
from rivetr.runtimes.detect import current

T = TypeVar("T")
MINE = {LABEL_INSTANCE: f"contract-{uuid.uuid4().hex[:12]}"}
PREFIX = MINE[LABEL_INSTANCE]
NETWORK = f"{PREFIX}-net"
SERVE = 'RUN mkdir /www && echo hello > /www/index.html\nEXPOSE 8000 53/udp\nCMD ["httpd","-f","-p","8000","-h","/www"]'
IDLE = 'CMD ["sleep", "1000"]'


def engine(name: str) -> Runtime:
    return current(config.Runtime(type=name))


@pytest.fixture(scope="module", params=["docker"])
def runtime(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    runtime = engine(request.param)
    assert runtime.has_image("busybox:latest"), "these tests need the local image busybox:latest"
    runtime.ensure_network(NETWORK, MINE)
    yield runtime
    for container in runtime.containers(MINE):
        runtime.remove(container.id)
    for network in (NETWORK, f"{NETWORK}-other", f"{NETWORK}-race"):
        runtime.remove_network(network)
    for image in runtime.images(MINE):
        with suppress(RuntimeFailed):
            runtime.remove_image(image.ref)


@pytest.fixture
def start(runtime: Runtime, tmp_path: Path) -> Iterator[Callable[..., Container]]:
    """Start a container from busybox and these Dockerfile lines; removed after the test."""
    made: list[Container] = []

    def start(lines: str, network: str = NETWORK, limits: Limits = Limits(), **env: str) -> Container:
        (tmp_path / "Dockerfile").write_text(f"FROM busybox:latest\n{lines}\n")
        name = f"{PREFIX}-{uuid.uuid4().hex[:6]}"
        image = runtime.build(BuildSpec(tmp_path, "Dockerfile", f"{name}:1", MINE), lambda line: None)
        spec = RunSpec(name, image.ref, network, env, MINE | {"who": name}, limits)
        made.append(runtime.run(spec))
        return made[-1]

    yield start
    for container in made:
        runtime.remove(container.id)


def until(ask: Callable[[], T], seconds: float = 15) -> T:
    """The first true answer."""
    end = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < end, f"not true within {seconds} s"
        time.sleep(0.02)
    return answer


def fetch(container: Container) -> bytes:
    connection = http.client.HTTPConnection(container.address, 8000, timeout=2)
    with suppress(OSError):
        connection.request("GET", "/")
        return connection.getresponse().read()
    return b""


def inspected(container: Container, template: str) -> str:
    argv = ["docker", "inspect", "--format", template, container.id]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def test_version(runtime: Runtime) -> None:
    assert runtime.version().engine == "docker"
    assert runtime.version().version


def test_container_answers_on_its_address(runtime: Runtime, start: Callable[..., Container]) -> None:
    container = start(SERVE)
    assert until(lambda: fetch(container)) == b"hello\n"
    assert container.status == "running"
    assert container.exposed_ports == (8000,)
    assert container.exit_code is None
    assert container.image == f"{container.name}:1"
    assert runtime.inspect(container.id) == container
    assert runtime.inspect(container.name) == container


def test_limits_and_hardening_are_really_set(start: Callable[..., Container]) -> None:
    container = start(IDLE, limits=Limits(cpus=0.5, memory_bytes=64 << 20, pids=50), COLOUR="a=b c")
    host = "{{with .HostConfig}}{{.NanoCpus}} {{.Memory}} {{.MemorySwap}} {{.PidsLimit}} {{.SecurityOpt}} {{.CapDrop}}"
    assert inspected(container, host + "{{end}}") == "500000000 67108864 67108864 50 [no-new-privileges] [NET_RAW]"
    more = "{{with .HostConfig}}{{.RestartPolicy.Name}} {{.Init}} {{.LogConfig.Config}} {{.PortBindings}}{{end}}"
    assert inspected(container, more) == "unless-stopped true map[max-file:3 max-size:10m] map[]"
    assert inspected(container, "{{.Config.Hostname}}") == container.name
    assert "COLOUR=a=b c" in inspected(container, "{{.Config.Env}}")


def test_default_limits(start: Callable[..., Container]) -> None:
    container = start(IDLE, limits=Limits(cpus=1000))
    pids, nano = inspected(container, "{{.HostConfig.PidsLimit}} {{.HostConfig.NanoCpus}}").split()
    assert pids == "1024"
    assert 0 < int(nano) < 1000e9


def test_pids_limit_bites(runtime: Runtime, start: Callable[..., Container]) -> None:
    container = start(IDLE, limits=Limits(pids=20))
    status, output = runtime.exec(container.id, ["sh", "-c", "for i in $(seq 40); do sleep 9 & done"])
    assert status and "fork" in output


def test_too_much_memory_is_seen(runtime: Runtime, start: Callable[..., Container]) -> None:
    container = start('CMD ["sh", "-c", "exec tail /dev/zero"]', limits=Limits(memory_bytes=16 << 20))
    found = until(lambda: [c for c in [runtime.inspect(container.id)] if c and c.exit_code])[0]
    assert found.exit_code == 137


def test_restarts_after_a_crash(runtime: Runtime, start: Callable[..., Container]) -> None:
    container = start(SERVE)
    until(lambda: fetch(container))
    runtime.exec(container.id, ["killall", "-9", "httpd"])
    until(lambda: inspected(container, "{{.RestartCount}}") != "0")
    found = until(lambda: [c for c in [runtime.inspect(container.id)] if c and c.status == "running" and c.address])[0]
    assert until(lambda: fetch(found)) == b"hello\n"


def test_stop_start_remove_again_and_again(runtime: Runtime, start: Callable[..., Container]) -> None:
    container = start(IDLE)
    for _ in range(2):
        runtime.stop(container.id, 5)
    stopped = runtime.inspect(container.id)
    assert stopped and stopped.status == "exited" and stopped.address == "" and stopped.exit_code is not None
    assert runtime.stats(container.id).memory_bytes == 0
    assert runtime.start(container.id).status == "running"
    for _ in range(2):
        runtime.remove(container.id)
    assert runtime.inspect(container.id) is None
    runtime.stop(container.id, 1)
    with pytest.raises(RuntimeFailed, match="no container"):
        runtime.start(container.id)


def test_a_program_that_ignores_sigterm_is_killed_after_the_grace(
    runtime: Runtime, start: Callable[..., Container]
) -> None:
    container = start("""CMD ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"]""")
    until(lambda: list(runtime.logs(container.id)))
    begun = time.monotonic()
    runtime.stop(container.id, 1)
    assert 0.9 < time.monotonic() - begun < 5
    found = runtime.inspect(container.id)
    assert found and found.exit_code == 137


@pytest.mark.parametrize("command", ['["/nope", "now"]', '["nope"]'])
def test_a_missing_program_leaves_nothing(runtime: Runtime, start: Callable[..., Container], command: str) -> None:
    with pytest.raises(RuntimeFailed, match=r"no program (/)?nope"):
        start(f"CMD {command}")
    assert not runtime.containers(MINE)


def test_a_missing_network_or_image_leaves_nothing(runtime: Runtime, start: Callable[..., Container]) -> None:
    with pytest.raises(RuntimeFailed, match=r"could not start the container .*-nowhere"):
        start(IDLE, network=f"{PREFIX}-nowhere")
    with pytest.raises(RuntimeFailed, match="there is no image"):
        runtime.run(RunSpec(f"{PREFIX}-x", f"{PREFIX}-no-image:1", NETWORK, labels=MINE))
    assert not runtime.containers(MINE)


def test_a_taken_name_leaves_its_owner_alone(runtime: Runtime, start: Callable[..., Container]) -> None:
    container = start(IDLE)
    with pytest.raises(RuntimeFailed, match="already in use"):
        runtime.run(RunSpec(container.name, container.image, NETWORK, labels=MINE))
    assert runtime.containers(MINE) == [container]


def test_containers_are_found_by_all_labels(runtime: Runtime, start: Callable[..., Container]) -> None:
    first, second = start(IDLE), start(IDLE)
    runtime.stop(second.id, 1)
    assert {c.id for c in runtime.containers(MINE)} == {first.id, second.id}
    assert [c.id for c in runtime.containers(MINE | {"who": second.name})] == [second.id]
    assert runtime.containers(MINE | {"who": "nobody"}) == []


CHATTY = r"""CMD ["sh", "-c", "echo out; echo err >&2; printf 'caf\\351\\r\\n'; head -c 40000 /dev/zero | tr '\\0' x; \
echo; exec sleep 1000"]"""


def test_logs_of_both_outputs(runtime: Runtime, start: Callable[..., Container]) -> None:
    begun = datetime.now(UTC)
    container = start(CHATTY)
    lines = until(lambda: [found for found in [list(runtime.logs(container.id))] if len(found) == 4])[0]
    assert {(line.stream, line.line) for line in lines if len(line.line) < 20} == {
        ("stdout", "out"),
        ("stderr", "err"),
        ("stdout", "caf\ufffd"),
    }
    assert max(len(line.line) for line in lines) == 16 * 1024
    assert all(begun - timedelta(seconds=5) < line.time < datetime.now(UTC) for line in lines)
    assert len(list(runtime.logs(container.id, lines=1))) == 1
    assert len(list(runtime.logs(container.id, since=begun - timedelta(hours=1)))) == 4
    assert list(runtime.logs(container.id, since=datetime.now(UTC) + timedelta(hours=1))) == []


def test_followed_logs_end_when_another_thread_closes(runtime: Runtime, start: Callable[..., Container]) -> None:
    container = start('CMD ["sh", "-c", "for i in 1 2 3; do echo $i; echo e$i >&2; sleep 0.1; done; exec sleep 1000"]')
    seen: list[LogLine] = []
    stream = runtime.logs(container.id, follow=True)
    reader = threading.Thread(target=lambda: seen.extend(line for line in iter(stream)), daemon=True)
    reader.start()
    until(lambda: len(list(runtime.logs(container.id))) == 6)
    assert reader.is_alive()
    begun = time.monotonic()
    stream.close()
    stream.close()
    reader.join(5)
    assert not reader.is_alive() and time.monotonic() - begun < 1
    assert sorted(line.line for line in seen) == ["1", "2", "3", "e1", "e2", "e3"]


def test_followed_logs_end_with_the_container(runtime: Runtime, start: Callable[..., Container]) -> None:
    container = start('CMD ["sh", "-c", "echo once; exec sleep 1000"]')
    stream = runtime.logs(container.id, follow=True)
    threading.Timer(0.3, runtime.stop, (container.id, 1)).start()
    assert [line.line for line in stream] == ["once"]


def test_log_of_no_container(runtime: Runtime) -> None:
    with pytest.raises(RuntimeFailed, match="no container"):
        runtime.logs("0" * 64)


def test_greenlets_share_a_runtime_and_close_a_stream(runtime: Runtime, start: Callable[..., Container]) -> None:
    container = start('CMD ["sh", "-c", "echo once; exec sleep 1000"]')
    program = f"""
from gevent import monkey; monkey.patch_all()
import gevent
from rivetr import config
from rivetr.runtimes.detect import current
runtime = current(config.Runtime())
stream = runtime.logs({container.id!r}, follow=True)
reader = gevent.spawn(lambda: [line.line for line in stream])
others = [gevent.spawn(runtime.stats, {container.id!r}) for _ in range(5)]
gevent.joinall(others, timeout=10, raise_error=True)
assert not reader.ready()
stream.close()
assert reader.get(timeout=2) == ["once"], reader.value
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


def test_stats_of_a_busy_container(runtime: Runtime, start: Callable[..., Container]) -> None:
    busy = 'CMD ["sh", "-c", "while :; do :; done"]'
    container = start(busy, limits=Limits(cpus=0.5, memory_bytes=64 << 20))
    until(lambda: 10 < runtime.stats(container.id).cpu_percent < 90)
    stats = runtime.stats(container.id)
    assert 0 < stats.memory_bytes < stats.memory_limit_bytes == 64 << 20
    assert stats.network_rx_bytes >= 0 and stats.network_tx_bytes >= 0
    with pytest.raises(RuntimeFailed, match="no container"):
        runtime.stats("0" * 64)


def test_exec(runtime: Runtime, start: Callable[..., Container]) -> None:
    container = start(IDLE, GREETING="hi")
    status, output = runtime.exec(container.id, ["sh", "-c", "echo $GREETING; echo oops >&2; exit 3"])
    assert (status, sorted(output.split())) == (3, ["hi", "oops"])
    assert runtime.exec(container.id, ["printf", r"\377"]) == (0, "\ufffd")


def test_one_network_remains_of_a_race(runtime: Runtime) -> None:
    name = f"{NETWORK}-race"
    barrier = threading.Barrier(4)

    def make(own: Runtime) -> None:
        barrier.wait(10)
        own.ensure_network(name, MINE)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(make, [engine("docker") for _ in range(4)]))
    argv = ["docker", "network", "ls", "--quiet", "--filter", f"name=^{name}$"]
    listed = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()
    assert len(listed) == 1
    runtime.ensure_network(name, MINE)
    for _ in range(2):
        runtime.remove_network(name)


def test_networks_are_apart(runtime: Runtime, start: Callable[..., Container]) -> None:
    runtime.ensure_network(f"{NETWORK}-other", MINE)
    server, friend, stranger = start(SERVE), start(IDLE), start(IDLE, network=f"{NETWORK}-other")
    until(lambda: fetch(server))
    ask = ["timeout", "2", "wget", "-q", "-O", "-", f"http://{server.address}:8000/"]
    assert runtime.exec(friend.id, ask) == (0, "hello\n")
    assert runtime.exec(friend.id, [*ask[:-1], f"http://{server.name}:8000/"]) == (0, "hello\n")
    assert runtime.exec(stranger.id, ask)[0] != 0
    with pytest.raises(RuntimeFailed, match="active endpoints"):
        runtime.remove_network(f"{NETWORK}-other")
