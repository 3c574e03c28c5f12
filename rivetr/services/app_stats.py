"""What an app's running containers use."""

from dataclasses import asdict
from typing import Any

from rivetr import config
from rivetr.actor import Actor
from rivetr.db import release
from rivetr.models import App
from rivetr.runtimes.detect import current
from rivetr.services import access

_COUNTS = ("cpu_percent", "memory_bytes", "memory_limit_bytes", "network_rx_bytes", "network_tx_bytes")


def read(actor: Actor, id_or_name: str) -> dict[str, Any]:
    """The sums over all containers, and each one's own figures; zeros for an app that does not run."""
    ids = serving_containers(access.app_for(actor, id_or_name, "read"))
    release()
    containers: list[dict[str, Any]] = []
    if ids:
        runtime = current(config.current().runtime)
        containers = [{"id": id, **asdict(runtime.stats(id))} for id in ids]
    return {**{name: sum(each[name] for each in containers) for name in _COUNTS}, "containers": containers}


def serving_containers(app: App) -> list[str]:
    """The ids of the containers that serve the app now; none while it is stopped or was never deployed."""
    if app.live_deployment is None or app.is_stopped:
        return []
    return [backend["container_id"] for backend in app.live_deployment.backends]
