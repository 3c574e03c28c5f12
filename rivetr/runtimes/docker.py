"""Docker (Engine API 1.41 and later) behind the `Runtime` protocol: the SDK for calls, our own HTTP for streams."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from functools import cached_property
from typing import Any

from docker import APIClient
from docker.errors import APIError, NotFound

from rivetr.errors import RuntimeFailed
from rivetr.runtimes import docker_network
from rivetr.runtimes.base import BuildSpec, Container, Image, Log, RunSpec, Stats, Version
from rivetr.runtimes.docker_build import build_image
from rivetr.runtimes.docker_container import container_config, to_container
from rivetr.runtimes.docker_errors import translated
from rivetr.runtimes.docker_logs import DockerLogStream, log_query, open_logs
from rivetr.runtimes.docker_program import missing_program
from rivetr.runtimes.docker_stats import StatsReader

_CALL_SECONDS = 60


class DockerRuntime:
    """The engine that listens on the Unix socket at `socket`; safe to share between greenlets and threads.

    Raises `RuntimeUnavailable` at once when none does.
    """

    def __init__(self, socket: str) -> None:
        self._socket = socket
        with self._translated("name its version"):
            # An explicit address: DOCKER_HOST and the configuration in the home folder must not redirect us.
            self._client = APIClient(base_url=f"unix://{socket}", version="auto", timeout=_CALL_SECONDS)
        # Neither proxies nor passwords of the environment belong to a Unix socket.
        self._client.trust_env = False
        self._stats = StatsReader(self._client)

    def version(self) -> Version:
        """Which engine this is."""
        with self._translated("name its version"):
            found = self._client.version()
        return Version(engine="docker", version=found["Version"], api=found["ApiVersion"])

    def build(self, spec: BuildSpec, log: Log) -> Image:
        """Build an image, giving each line the build prints to `log` as it comes."""
        digest = build_image(self._socket, self._client.api_version, spec, log)
        return Image(ref=spec.tag, digest=digest)

    def has_image(self, ref: str) -> bool:
        """Whether the engine holds the image already."""
        with self._translated(f"look for the image {ref}"), suppress(NotFound):
            self._client.inspect_image(ref)
            return True
        return False

    def remove_image(self, ref: str) -> None:
        """Remove an image (or this name of it); one that is not there is no error."""
        with self._translated(f"remove the image {ref}"), suppress(NotFound):
            self._client.remove_image(ref)

    def images(self, labels: Mapping[str, str]) -> list[Image]:
        """The images that carry all `labels`, once for each name they have."""
        with self._translated("list the images"):
            found = self._client.images(filters=_filters(labels))
        return [Image(ref=ref, digest=image["Id"]) for image in found for ref in _names(image)]

    def ensure_network(self, name: str, labels: Mapping[str, str]) -> None:
        """Make the private network `name` unless it is there."""
        with self._translated(f"make the network {name}"):
            docker_network.ensure_network(self._client, name, labels)

    def remove_network(self, name: str) -> None:
        """Remove a network; one that is not there is no error."""
        with self._translated(f"remove the network {name}"), suppress(NotFound):
            self._client.remove_network(name)

    def run(self, spec: RunSpec) -> Container:
        """Create and start a container; when it cannot start, nothing of it is left."""
        with self._translated(f"start the container {spec.name}"):
            config = container_config(spec, self._cpus)
            id: str = self._client.create_container_from_config(config, spec.name)["Id"]
            try:
                self._refuse_missing_program(spec.name, id)
                return self.start(id)
            except BaseException:
                # Also when we are told to end in between.
                self.remove(id)
                raise

    def start(self, id: str) -> Container:
        """Start a stopped container again."""
        with self._translated(f"start the container {id[:12]}"):
            self._client.start(id)
            return to_container(self._client.inspect_container(id))

    def stop(self, id: str, grace_seconds: int) -> None:
        """SIGTERM, then SIGKILL after the grace; one that is stopped or gone is no error."""
        with self._translated(f"stop the container {id[:12]}"), suppress(NotFound):
            self._client.stop(id, timeout=grace_seconds)

    def remove(self, id: str) -> None:
        """Remove a container, running or not, and its nameless volumes; one that is gone is no error."""
        with self._translated(f"remove the container {id[:12]}"), suppress(NotFound):
            try:
                self._client.remove_container(id, v=True, force=True)
            except APIError as error:
                if "already in progress" not in str(error.explanation):
                    raise
                # Somebody else is removing it: wait, so that its network and name are free afterwards.
                self._client.wait(id, condition="removed")

    def inspect(self, id: str) -> Container | None:
        """The container as it is now, or None when there is none."""
        with self._translated(f"look at the container {id[:12]}"), suppress(NotFound):
            return to_container(self._client.inspect_container(id))
        return None

    def containers(self, labels: Mapping[str, str]) -> list[Container]:
        """All containers, running or not, that carry all `labels`."""
        with self._translated("list the containers"):
            listed = self._client.containers(all=True, filters=_filters(labels))
        # One may go between the two calls.
        found = (self.inspect(container["Id"]) for container in listed)
        return [container for container in found if container]

    def logs(
        self, id: str, lines: int | None = None, since: datetime | None = None, follow: bool = False
    ) -> DockerLogStream:
        """What the container wrote, oldest first; with `follow`, also what it will write."""
        return open_logs(self._socket, self._client.api_version, id, log_query(lines, since, follow))

    def stats(self, id: str) -> Stats:
        """What the container uses now."""
        with self._translated(f"measure the container {id[:12]}"):
            return self._stats.read(id)

    def exec(self, id: str, argv: Sequence[str]) -> tuple[int, str]:
        """Run a program in the container and give its exit status and output."""
        with self._translated(f"run {argv[0]} in the container {id[:12]}"):
            made = self._client.exec_create(id, list(argv))["Id"]
            output: bytes = self._client.exec_start(made)
            status: int = self._client.exec_inspect(made)["ExitCode"]
        return status, output.decode("utf-8", "replace")

    def _refuse_missing_program(self, name: str, id: str) -> None:
        program = missing_program(self._socket, self._client.api_version, self._client.inspect_container(id))
        if program:
            raise RuntimeFailed(f"The container {name} cannot start: its image has no program {program}.")

    @cached_property
    def _cpus(self) -> int:
        count: int = self._client.info()["NCPU"]
        return count

    def _translated(self, doing: str) -> AbstractContextManager[None]:
        return translated(doing, self._socket)


def _filters(labels: Mapping[str, str]) -> dict[str, Any]:
    return {"label": [f"{name}={value}" for name, value in labels.items()]}


def _names(image: Mapping[str, Any]) -> list[str]:
    return [tag for tag in image.get("RepoTags") or [] if tag != "<none>:<none>"] or [image["Id"]]
