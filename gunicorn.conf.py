"""gunicorn's settings for the control plane: `gunicorn app:app`, or started by `rivetr up`. Stdlib only."""

import os

_host = os.environ.get("RIVETR_SERVER__HOST", "0.0.0.0")  # noqa: S104 - a server is meant to be reached
_port = os.environ.get("RIVETR_SERVER__API_PORT", "8080")

bind = f"[{_host}]:{_port}" if ":" in _host else f"{_host}:{_port}"
# One process: it waits for SQLite, the engine and browsers, never for the CPU for long.
workers = 1
worker_class = "geventwebsocket.gunicorn.workers.GeventWebSocketWorker"
worker_connections = 1000
timeout = 60
# An open log stream would hold a restart up for this long.
graceful_timeout = 2
keepalive = 75
limit_request_line = 8190
accesslog = None
loglevel = os.environ.get("RIVETR_LOGGING__LEVEL", "warning") if "RIVETR_LOGGING__LEVEL" in os.environ else "warning"
control_socket_disable = True
