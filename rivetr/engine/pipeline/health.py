"""Stage 5: each new container answers as it should, or the deployment ends here with the reason."""

import contextlib
import http.client
import socket
import time

from rivetr import config
from rivetr.engine.pipeline.plan import HealthyBackend, Plan
from rivetr.errors import HealthCheckFailed
from rivetr.plaintext import plain
from rivetr.runtimes.base import Container, Log, Runtime

PROBE_SECONDS = 5
# Polled quickly at first, since most apps are up in a moment, then ever more slowly.
_FIRST_PAUSE, _LONGEST_PAUSE, _GROWTH = 0.02, 1.0, 1.3
# Asking the engine costs more than asking the app, so it is asked less often.
_ENGINE_LOOK_SECONDS = 0.5
_LAST_LINES = 20


def health(plan: Plan, containers: list[Container], runtime: Runtime, log: Log) -> list[HealthyBackend]:
    """Wait for every container. Raises `HealthCheckFailed` saying what it did instead."""
    check = f"GET {plan.healthcheck}" if plan.healthcheck else "a connection"
    log(f"Waiting for {check} on port {plan.port} to succeed")
    deadline = time.monotonic() + config.current().deploy.healthcheck_timeout
    backends = []
    for container in containers:
        _wait_until_healthy(plan, container, runtime, deadline, log)
        backends.append(HealthyBackend(container, f"{container.address}:{plan.port}"))
    log("Healthy")
    return backends


def _wait_until_healthy(plan: Plan, container: Container, runtime: Runtime, deadline: float, log: Log) -> None:
    pause = _FIRST_PAUSE
    next_look = time.monotonic() + _ENGINE_LOOK_SECONDS
    while True:
        complaint = _probe(container.address, plan.port, plan.healthcheck)
        if complaint is None:
            return
        now = time.monotonic()
        # Without an address it had ended before anybody could ask it.
        if now >= min(next_look, deadline) or not container.address:
            _refuse_if_ended(container.id, runtime, log)
            next_look = now + _ENGINE_LOOK_SECONDS
        if now >= deadline:
            _log_last_lines(container.id, runtime, log)
            seconds = config.current().deploy.healthcheck_timeout
            raise HealthCheckFailed(f"Not healthy within {seconds} seconds: {complaint}")
        time.sleep(pause)
        pause = min(pause * _GROWTH, _LONGEST_PAUSE)


def _probe(host: str, port: int, path: str | None) -> str | None:
    """What is wrong with the app's answer, or None when it is healthy."""
    try:
        if path is None:
            socket.create_connection((host, port), PROBE_SECONDS).close()
            return None
        status = _get_status(host, port, path)
    except ConnectionRefusedError:
        return f"nothing listens on port {port}: is it the port the app uses (the variable PORT says {port})?"
    except TimeoutError:
        return f"no answer within {PROBE_SECONDS} seconds."
    except (OSError, http.client.HTTPException) as error:
        return f"the connection broke ({error or type(error).__name__})."
    if 200 <= status < 300:
        return None
    hint = "; a health check must answer 2xx itself, not redirect" if 300 <= status < 400 else ""
    return f"GET {path} answered {status}{hint}."


def _get_status(host: str, port: int, path: str) -> int:
    with contextlib.closing(http.client.HTTPConnection(host, port, timeout=PROBE_SECONDS)) as connection:
        connection.request("GET", path, headers={"User-Agent": "rivetr-health"})
        return connection.getresponse().status


def _refuse_if_ended(id: str, runtime: Runtime, log: Log) -> None:
    container = runtime.inspect(id)
    if container is not None and container.status in ("running", "created"):
        return
    if container is None:
        raise HealthCheckFailed("The container vanished: was it removed by hand?")
    last = _log_last_lines(id, runtime, log)
    if container.out_of_memory:
        raise HealthCheckFailed("The app needed more memory than its limit allows: raise memory_limit.")
    said = f'the last that it wrote is "{last}"' if last else "it wrote nothing that would say why"
    raise HealthCheckFailed(f"The container exited with status {container.exit_code} before it was healthy; {said}.")


def _log_last_lines(id: str, runtime: Runtime, log: Log) -> str:
    """Copy what the container wrote last into the deployment's log; gives the last line of it."""
    last = ""
    for entry in runtime.logs(id, lines=_LAST_LINES):
        last = plain(entry.line)
        log(f"[app] {last}")
    return last
