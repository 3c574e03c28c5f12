"""`python -m proxy`: the reverse proxy as a process of its own; nothing of the control plane is imported."""

import gc
import logging
import signal
import socket
import sys
import time
from argparse import Namespace
from collections.abc import Callable

import gevent
from gevent.event import Event

from proxy.access_log import AccessLog
from proxy.forwarded import Forwarder
from proxy.health import Checker
from proxy.limits import Limits
from proxy.options import parser
from proxy.server import Server, inherited, listen
from proxy.service import Service
from proxy.tls import Certificates, context_for
from proxy.watcher import Watcher

# SIGTERM: how long requests may take to end.
STOP_SECONDS = 5.0
_LOOK_SECONDS = 0.02
_GARBAGE_THRESHOLD = 10_000


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM, SIGINT or SIGQUIT; 1 and a sentence when it cannot start."""
    options = parser().parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", level=options.log_level.upper())
    try:
        plain = [_listener(options.listen_fd, options.host, options.http_port)]
        has_tls = options.https_port or options.listen_tls_fd is not None
        tls = [_listener(options.listen_tls_fd, options.host, options.https_port)] if has_tls else []
        certificates = _certificates(options) if has_tls else None
        access_log = _access_log(options)
    except OSError as error:
        print(f"proxy: {error}", file=sys.stderr)
        return 1
    service = Service(Forwarder(options.trusted_proxy), _limits(options), options.drain_timeout)
    service.access_log = access_log
    watcher = Watcher(service, certificates, options.routes, options.state)
    # The first table is there before the first request.
    watcher.start()
    server = Server(service, certificates, options.proxy_protocol)
    server.start(plain, tls)
    Checker(service).start()
    # Requests leave no cycles behind, so garbage is looked for rarely; what was loaded is never garbage.
    gc.freeze()
    gc.set_threshold(_GARBAGE_THRESHOLD)
    _end(server, _wait_for_signal(service), options.drain_timeout)
    watcher.leave()
    if access_log is not None:
        access_log.flush()
    return 0


def _limits(options: Namespace) -> Limits:
    return Limits(**{name: getattr(options, name) for name in Limits.__slots__})


def _listener(descriptor: int | None, host: str, port: int) -> socket.socket:
    if descriptor is not None:
        return inherited(descriptor)
    try:
        return listen(host, port)
    except OSError as error:
        raise OSError(f"cannot listen on {host} port {port}: {error.strerror}") from None


def _certificates(options: Namespace) -> Certificates:
    if not (options.default_cert and options.default_key):
        raise OSError("--https-port needs --default-cert and --default-key")
    try:
        return Certificates(context_for(options.default_cert, options.default_key))
    except OSError as error:
        raise OSError(f"the default certificate {options.default_cert} cannot be used: {error}") from None


def _access_log(options: Namespace) -> AccessLog | None:
    if not options.access_log:
        return None
    is_json = options.access_log_format == "json"
    try:
        return AccessLog(options.access_log, is_json, options.access_log_max_bytes, options.access_log_keep)
    except OSError as error:
        raise OSError(f"the access log {options.access_log} cannot be written: {error.strerror}") from None


def _wait_for_signal(service: Service) -> list[int]:
    """The signals that end us, as they come; back with the first one."""
    told = Event()
    received: list[int] = []

    def tell(number: int) -> None:
        received.append(number)
        told.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        gevent.signal_handler(number, tell, number)
    gevent.signal_handler(signal.SIGUSR1, _reopen, service)
    told.wait()
    return received


def _reopen(service: Service) -> None:
    if service.access_log is not None:
        service.access_log.reopen()


def _end(server: Server, received: list[int], drain_seconds: float) -> None:
    """SIGQUIT lets everybody end in their own time, the others in a few seconds, also those who had more before."""
    if received[-1] == signal.SIGQUIT:
        server.drain()
        _wait(lambda: server.has_ended(counts_tunnels=True) or received[-1] != signal.SIGQUIT, drain_seconds)
    if received[-1] != signal.SIGQUIT:
        _wait(lambda: _has_stopped(server), STOP_SECONDS)
    server.cut()


def _has_stopped(server: Server) -> bool:
    # Again and again: a connection that was busy may rest a moment later.
    server.stop()
    return server.has_ended(counts_tunnels=False)


def _wait(has_come: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not has_come() and time.monotonic() < deadline:
        gevent.sleep(_LOOK_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
