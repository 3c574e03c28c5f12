"""Live logs: one address gives a WebSocket where it is asked for, and server-sent events otherwise.

WebSocket routes exist beside the plain ones because werkzeug matches an upgrade only with a route
marked `websocket=True`; gevent-websocket has answered 101 by then, so refusals are close frames.
"""

import json
import struct
from collections.abc import Iterator
from typing import Any

from flask import Response, request, stream_with_context

from rivetr.api import blueprint
from rivetr.api.auth import actor
from rivetr.api.operation import operation
from rivetr.api.serialize import moment
from rivetr.errors import Forbidden, RivetrError
from rivetr.services import app_logs, deployments, log_streams
from rivetr.services.paging import Window

Message = dict[str, Any]
_POLICY_VIOLATION, _NORMAL = 1008, 1000


@blueprint.get("/apps/<app>/logs")
@operation("Read the running containers' last log lines, as text")
def app_log(app: str) -> Response:
    lines = Window.parse(request.args.get("lines"), None).limit if "lines" in request.args else 200
    entries = app_logs.read(actor(), app, lines, request.args.get("since"))
    return Response("".join(f"{entry.line}\n" for entry in entries), mimetype="text/plain")


@blueprint.get("/deployments/<id>/logs/stream")
@operation("Follow a deployment's log as server-sent events (or a WebSocket)")
def deployment_events(id: str) -> Response:
    return _events(_deployment_messages(deployments.get(actor(), id).id))


@blueprint.route("/deployments/<id>/logs/stream", websocket=True)
def deployment_socket(id: str) -> Response:
    return _socket(lambda: _deployment_messages(deployments.get(actor(), id).id))


@blueprint.get("/apps/<app>/logs/stream")
@operation("Follow the running containers' logs as server-sent events (or a WebSocket)")
def app_events(app: str) -> Response:
    return _events(_app_messages(app))


@blueprint.route("/apps/<app>/logs/stream", websocket=True)
def app_socket(app: str) -> Response:
    return _socket(lambda: _app_messages(app))


def _deployment_messages(id: str) -> Iterator[Message | None]:
    for event in log_streams.follow_deployment(id):
        if event is None or isinstance(event, dict):
            yield event
        else:
            yield {"id": event.id, "time": moment(event.time), "stage": event.stage, "line": event.line}


def _app_messages(app: str) -> Iterator[Message | None]:
    for entry in app_logs.follow(actor(), app):
        if entry is None:
            yield None
        else:
            container, line = entry
            yield {"time": moment(line.time), "stream": line.stream, "line": line.line, "container": container}


def _events(messages: Iterator[Message | None]) -> Response:
    def body() -> Iterator[str]:
        for message in messages:
            # JSON never holds a raw line break, so a log line cannot end its own event (WHATWG HTML, 9.2).
            yield ": alive\n\n" if message is None else f"data: {json.dumps(message)}\n\n"

    answer = Response(stream_with_context(body()), mimetype="text/event-stream")
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["X-Accel-Buffering"] = "no"
    return answer


def _socket(messages: Any) -> Response:
    socket = request.environ["wsgi.websocket"]
    try:
        _refuse_other_origins()
        for message in messages():
            if message is None:
                socket.send_frame("", socket.OPCODE_PING)
            else:
                socket.send(json.dumps(message))
        _close(socket, _NORMAL, "")
    except RivetrError as error:
        _close(socket, _POLICY_VIOLATION, error.message)
    except OSError:
        # The reader went away; the generator's own clean-up has run by then.
        socket.close()
    return Response("")


def _close(socket: Any, code: int, reason: str) -> None:
    """Say why (RFC 6455, 5.5.1); gevent-websocket's own `close` leaves the code out."""
    socket.send_frame(struct.pack("!H", code) + reason.encode()[:120], socket.OPCODE_CLOSE)
    # Its handler would otherwise send a second close frame, which browsers call an error.
    socket.closed = True


def _refuse_other_origins() -> None:
    """A browser sends cookies with cross-site WebSockets, so the Origin must be ours (RFC 6455, 10.2)."""
    origin = request.headers.get("Origin")
    if origin is not None and "Authorization" not in request.headers and origin != request.host_url.rstrip("/"):
        raise Forbidden("WebSockets are served to the dashboard's own pages only.")
