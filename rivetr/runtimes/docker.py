"""Docker behind the `Runtime` protocol, through its Engine API (1.41 and later)."""

import ipaddress
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.types import IPAMConfig, IPAMPool, LogConfig

from rivetr.errors import RuntimeFailed, RuntimeUnavailable
from rivetr.runtimes import docker_build
from rivetr.runtimes.base import BuildSpec, Container, Image, Log, RunSpec, Stats, Version
from rivetr.runtimes.docker_logs import DockerLogStream

_TIMEOUT_SECONDS = 60
_DEFAULT_PIDS = 1024
# Docker's own address pools hold about 31 networks, and each app has one; ours hold 1,024 small ones.
SUBNETS = ipaddress.ip_network("10.213.0.0/16")
_SUBNET_PREFIX = 26


class DockerRuntime:
    """One Docker engine at a Unix socket."""

    def __init__(self, socket_path: str) -> None:
        self._client = docker.DockerClient(base_url=f"unix://{socket_path}", timeout=_TIMEOUT_SECONDS)

    def version(self) -> Version:
        with _translated():
            answer = self._client.version()
        return Version("docker", answer["Version"], answer["ApiVersion"])

    def build(self, spec: BuildSpec, log: Log) -> Image:
        with _translated():
            return docker_build.build(self._client.api, spec, log)

    def has_image(self, ref: str) -> bool:
        with _translated():
            try:
                self._client.images.get(ref)
            except ImageNotFound:
                return False
        return True

    def remove_image(self, ref: str) -> None:
        with _translated(), suppress(ImageNotFound):
            self._client.images.remove(ref, force=True)

    def images(self, labels: Mapping[str, str]) -> list[Image]:
        with _translated():
            found = self._client.api.images(filters=_label_filter(labels))
        return [Image((image["RepoTags"] or [image["Id"]])[0], image["Id"]) for image in found]

    def ensure_network(self, name: str, labels: Mapping[str, str]) -> None:
        with _translated():
            for subnet in self._free_subnets():
                if self._client.networks.list(names=[name], filters={"name": f"^{name}$"}):
                    return
                try:
                    self._create_network(name, labels, subnet)
                except APIError as error:
                    if error.status_code == 409 or "overlap" in str(error.explanation).lower():
                        continue
                    raise
                return
        raise RuntimeFailed(f"No subnet of {SUBNETS} is free for another app: remove networks that nothing uses.")

    def _free_subnets(self) -> Iterator[ipaddress.IPv4Network]:
        taken = [
            ipaddress.ip_network(pool["Subnet"], strict=False)
            for network in self._client.api.networks()
            for pool in (network["IPAM"]["Config"] or [])
            if pool.get("Subnet")
        ]
        for subnet in SUBNETS.subnets(new_prefix=_SUBNET_PREFIX):
            if not any(other.version == 4 and subnet.overlaps(other) for other in taken):
                yield subnet

    def _create_network(self, name: str, labels: Mapping[str, str], subnet: Any) -> None:
        self._client.networks.create(
            name,
            driver="bridge",
            check_duplicate=True,
            labels=dict(labels),
            ipam=IPAMConfig(pool_configs=[IPAMPool(subnet=str(subnet))]),
        )

    def remove_network(self, name: str) -> None:
        with _translated():
            for network in self._client.networks.list(filters={"name": f"^{name}$"}):
                with suppress(NotFound):
                    network.remove()

    def run(self, spec: RunSpec) -> Container:
        with _translated():
            created = self._client.containers.create(spec.image, **_run_options(spec))
            try:
                created.start()
                created.reload()
            except BaseException:
                created.remove(force=True, v=True)
                raise
        return _container(created.attrs)

    def start(self, id: str) -> Container:
        with _translated():
            container = self._client.containers.get(id)
            container.start()
            container.reload()
        return _container(container.attrs)

    def stop(self, id: str, grace_seconds: int) -> None:
        with _translated(), suppress(NotFound):
            self._client.api.stop(id, timeout=grace_seconds)

    def remove(self, id: str) -> None:
        with _translated(), suppress(NotFound):
            self._client.api.remove_container(id, force=True, v=True)

    def inspect(self, id: str) -> Container | None:
        with _translated():
            try:
                return _container(self._client.api.inspect_container(id))
            except NotFound:
                return None

    def containers(self, labels: Mapping[str, str]) -> list[Container]:
        with _translated():
            ids = [row["Id"] for row in self._client.api.containers(all=True, filters=_label_filter(labels))]
        found = (self.inspect(id) for id in ids)
        return [container for container in found if container is not None]

    def logs(
        self, id: str, lines: int | None = None, since: datetime | None = None, follow: bool = False
    ) -> DockerLogStream:
        with _translated():
            return DockerLogStream(self._client.api, id, lines, since, follow)

    def stats(self, id: str) -> Stats:
        with _translated():
            return _stats(self._client.api.stats(id, stream=False))

    def exec(self, id: str, argv: Sequence[str]) -> tuple[int, str]:
        with _translated():
            result = self._client.containers.get(id).exec_run(list(argv))
        return result.exit_code, result.output.decode("utf-8", "replace")


@contextmanager
def _translated() -> Iterator[None]:
    """The SDK's errors as ours: no answer, or an answer that says no."""
    try:
        yield
    except APIError as error:
        raise RuntimeFailed(str(error.explanation or error).strip()) from error
    except (requests.exceptions.RequestException, DockerException) as error:
        raise RuntimeUnavailable("The container engine does not answer: start it, then try again.") from error


def _label_filter(labels: Mapping[str, str]) -> dict[str, list[str]]:
    return {"label": [f"{key}={value}" for key, value in labels.items()]}


def _run_options(spec: RunSpec) -> dict[str, Any]:
    memory = spec.limits.memory_bytes or None
    return {
        "name": spec.name,
        "hostname": spec.name[:63],
        "environment": dict(spec.env),
        "labels": dict(spec.labels),
        "network": spec.network,
        "restart_policy": {"Name": "unless-stopped"},
        "init": True,
        "security_opt": ["no-new-privileges"],
        "cap_drop": ["NET_RAW"],
        "pids_limit": spec.limits.pids or _DEFAULT_PIDS,
        "mem_limit": memory,
        # Without this a container may swap as much again, and its limit would not bite.
        "memswap_limit": memory,
        "nano_cpus": int(min(spec.limits.cpus, os.cpu_count() or 1) * 1e9) or None,
        "log_config": LogConfig(type="json-file", config={"max-size": "10m", "max-file": "3"}),
    }


def _container(attributes: Mapping[str, Any]) -> Container:
    state, settings = attributes["State"], attributes["Config"]
    addresses = [network["IPAddress"] for network in attributes["NetworkSettings"]["Networks"].values()]
    ports = [int(port.partition("/")[0]) for port in settings.get("ExposedPorts") or {} if port.endswith("/tcp")]
    return Container(
        id=attributes["Id"],
        name=attributes["Name"].lstrip("/"),
        status=state["Status"],
        address=next((address for address in addresses if address), ""),
        image=settings["Image"],
        labels=settings.get("Labels") or {},
        exit_code=None if state["Running"] else state["ExitCode"],
        out_of_memory=state["OOMKilled"],
        exposed_ports=tuple(sorted(ports)),
        started_at=state["StartedAt"],
    )


def _stats(sample: Mapping[str, Any]) -> Stats:
    cpu, before = sample["cpu_stats"], sample["precpu_stats"]
    used = cpu["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
    span = cpu.get("system_cpu_usage", 0) - before.get("system_cpu_usage", 0)
    cores = cpu.get("online_cpus") or os.cpu_count() or 1
    memory = sample["memory_stats"]
    networks = (sample.get("networks") or {}).values()
    return Stats(
        cpu_percent=round(used / span * cores * 100, 2) if span > 0 else 0.0,
        # The page cache is not what the app uses (docker-stats(1)).
        memory_bytes=max(0, memory.get("usage", 0) - memory.get("stats", {}).get("total_inactive_file", 0)),
        memory_limit_bytes=memory.get("limit", 0),
        network_rx_bytes=sum(network["rx_bytes"] for network in networks),
        network_tx_bytes=sum(network["tx_bytes"] for network in networks),
    )
