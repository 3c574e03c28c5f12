"""What Rivetr asks of a container engine, in words that belong to no engine."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

# Labels by which we know what is ours; an engine may run other people's containers too.
LABEL_INSTANCE = "rivetr.instance"
LABEL_APP = "rivetr.app"
LABEL_DEPLOYMENT = "rivetr.deployment"

Log = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a container or build may use: CPUs (0.5 is half a core), bytes, processes; 0 is no limit."""

    cpus: float = 0
    memory_bytes: int = 0
    pids: int = 0


@dataclass(frozen=True, slots=True)
class BuildSpec:
    """An image to build from the folder `context`; `dockerfile` is relative to it."""

    context: Path
    dockerfile: str
    tag: str
    labels: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = Limits()
    args: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunSpec:
    """A container to run: on the private `network`, published nowhere."""

    name: str
    image: str
    network: str
    env: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class Image:
    """A built image: `ref` is what a container is run from, `digest` its content's id."""

    ref: str
    digest: str


@dataclass(frozen=True, slots=True)
class Container:
    """One container as the engine sees it now.

    `address` is its IP address on its own network, empty while it does not run; `status` is
    `created`, `running`, `restarting`, `exited` or `dead`.
    """

    id: str
    name: str
    status: str
    address: str
    image: str
    labels: Mapping[str, str] = field(default_factory=dict)
    exit_code: int | None = None
    out_of_memory: bool = False
    exposed_ports: tuple[int, ...] = ()
    started_at: str | None = None


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line a container wrote; `stream` is `stdout` or `stderr`."""

    time: datetime
    stream: str
    line: str


@dataclass(frozen=True, slots=True)
class Stats:
    """What a container uses now; bytes, and percent of one core."""

    cpu_percent: float
    memory_bytes: int
    memory_limit_bytes: int
    network_rx_bytes: int
    network_tx_bytes: int


@dataclass(frozen=True, slots=True)
class Version:
    """Which engine answers, for the dashboard and `doctor`."""

    engine: str
    version: str
    api: str


class Runtime(Protocol):
    """A container engine. Every method raises `RuntimeFailed`, or `RuntimeUnavailable` when none answers."""

    def version(self) -> Version:
        """Which engine this is."""
        ...

    def build(self, spec: BuildSpec, log: Log) -> Image:
        """Build an image, giving each line the build prints to `log` as it comes.

        Raises `rivetr.errors.BuildFailed` when a step of the Dockerfile failed.
        """
        ...

    def has_image(self, ref: str) -> bool:
        """Whether the engine holds the image already."""
        ...

    def remove_image(self, ref: str) -> None:
        """Remove an image (or this name of it); one that is not there is no error."""
        ...

    def images(self, labels: Mapping[str, str]) -> list[Image]:
        """The images that carry all `labels`."""
        ...

    def ensure_network(self, name: str, labels: Mapping[str, str]) -> None:
        """Make the private network `name` unless it is there."""
        ...

    def remove_network(self, name: str) -> None:
        """Remove a network; one that is not there is no error."""
        ...

    def run(self, spec: RunSpec) -> Container:
        """Create and start a container; when it cannot start, nothing of it is left."""
        ...

    def start(self, id: str) -> Container:
        """Start a stopped container again."""
        ...

    def stop(self, id: str, grace_seconds: int) -> None:
        """SIGTERM, then SIGKILL after the grace; one that is stopped or gone is no error."""
        ...

    def remove(self, id: str) -> None:
        """Remove a container, running or not; one that is gone is no error."""
        ...

    def inspect(self, id: str) -> Container | None:
        """The container as it is now, or None when there is none."""
        ...

    def containers(self, labels: Mapping[str, str]) -> list[Container]:
        """All containers, running or not, that carry all `labels`."""
        ...

    def logs(
        self, id: str, lines: int | None = None, since: datetime | None = None, follow: bool = False
    ) -> "LogStream":
        """What the container wrote, oldest first; with `follow`, also what it will write."""
        ...

    def stats(self, id: str) -> Stats:
        """What the container uses now."""
        ...

    def exec(self, id: str, argv: Sequence[str]) -> tuple[int, str]:
        """Run a program in the container and give its exit status and output."""
        ...


class LogStream(Protocol):
    """An iterator of log lines that another greenlet or thread may `close` to end it."""

    def __iter__(self) -> Iterator[LogLine]: ...

    def close(self) -> None:
        """End the stream and give its connection back."""
        ...
