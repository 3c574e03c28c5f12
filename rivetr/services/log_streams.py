"""A deployment's log as it grows."""

import time
from collections.abc import Iterator
from typing import Any

from rivetr.db import release, session
from rivetr.models import Deployment, LogEntry
from rivetr.services import deployments

# How soon a line is seen; one look is an index search, so this is nearly free.
_LOOK_SECONDS = 0.15
# A reader that vanished is noticed when writing to it fails.
HEARTBEAT_SECONDS = 5


def follow_deployment(deployment_id: str, after: int = 0) -> Iterator[LogEntry | dict[str, Any] | None]:
    """Lines as they come, None now and then so that a vanished reader is noticed, at last `{"status": …}`."""
    last_sign = time.monotonic()
    while True:
        deployment = session().get(Deployment, deployment_id)
        # The status is read before the lines: a final one then has no line after those that follow.
        status, over = (deployment.status, not deployment.is_unfinished) if deployment else ("cancelled", True)
        entries = deployments.log_after(deployment_id, after)
        session().expunge_all()
        release()
        for entry in entries:
            after = entry.id
            yield entry
        if entries:
            last_sign = time.monotonic()
            continue
        if over:
            yield {"status": status}
            return
        if time.monotonic() - last_sign > HEARTBEAT_SECONDS:
            last_sign = time.monotonic()
            yield None
        time.sleep(_LOOK_SECONDS)
