"""Between our words and the Engine API's JSON: what a container gets, and what the engine says of it."""

from collections.abc import Mapping
from typing import Any

from rivetr.runtimes.base import Container, RunSpec

DEFAULT_PIDS = 1024
# Networks every engine has: an address there is not the app's own.
_SHARED_NETWORKS = ("bridge", "host", "none")
_STATUS = {"paused": "running", "removing": "dead"}


def container_config(spec: RunSpec, cpus_there: int) -> dict[str, Any]:
    """The body of the Engine API's `POST /containers/create` for `spec`."""
    return {
        "Image": spec.image,
        "Hostname": spec.name[:63],
        "Env": [f"{name}={value}" for name, value in spec.env.items()],
        "Labels": dict(spec.labels),
        "HostConfig": _host_config(spec, cpus_there),
        "NetworkingConfig": {"EndpointsConfig": {spec.network: {}}},
    }


def _host_config(spec: RunSpec, cpus_there: int) -> dict[str, Any]:
    limits = spec.limits
    return {
        "NetworkMode": spec.network,
        "RestartPolicy": {"Name": "unless-stopped"},
        # A small PID 1 that passes signals on: programs that ignore SIGTERM as PID 1 then stop at once.
        "Init": True,
        "SecurityOpt": ["no-new-privileges"],
        # Raw sockets allow forging addresses on the network that its containers share.
        "CapDrop": ["NET_RAW"],
        "PidsLimit": limits.pids or DEFAULT_PIDS,
        "Memory": limits.memory_bytes,
        # Equal to Memory: no swap on top, or the limit would not bite.
        "MemorySwap": limits.memory_bytes,
        # The engine refuses more CPUs than the machine has.
        "NanoCpus": int(min(limits.cpus, cpus_there) * 1e9),
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
    }


def to_container(found: Mapping[str, Any]) -> Container:
    """A `Container` out of the engine's inspect answer."""
    state, config = found["State"], found["Config"]
    status = _STATUS.get(state["Status"], state["Status"])
    started = state.get("StartedAt") or ""
    was_started = bool(started) and not started.startswith("0001-")
    return Container(
        id=found["Id"],
        name=found["Name"].removeprefix("/"),
        status=status,
        address=_address(found) if status == "running" else "",
        image=config["Image"],
        labels=config.get("Labels") or {},
        exit_code=state.get("ExitCode") if was_started and status != "running" else None,
        out_of_memory=bool(state.get("OOMKilled")),
        exposed_ports=_exposed_ports(config),
        started_at=started if was_started else None,
    )


def _address(found: Mapping[str, Any]) -> str:
    networks: Mapping[str, Mapping[str, Any]] = found["NetworkSettings"].get("Networks") or {}
    for name, network in networks.items():
        if name not in _SHARED_NETWORKS and network.get("IPAddress"):
            return str(network["IPAddress"])
    return ""


def _exposed_ports(config: Mapping[str, Any]) -> tuple[int, ...]:
    ports = (port.partition("/") for port in config.get("ExposedPorts") or {})
    return tuple(sorted(int(number) for number, _, protocol in ports if protocol in ("", "tcp")))
