"""`python -m proxy`: the reverse proxy as a process of its own; nothing of the control plane is imported."""

import argparse
import ipaddress
import logging
import signal
import sys
from pathlib import Path

import gevent
from gevent import socket
from gevent.event import Event

from proxy.forwarded import Forwarder
from proxy.server import Server, listen
from proxy.service import Service
from proxy.tls import Certificates, context_for
from proxy.watcher import Watcher


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; 1 and a sentence when it cannot start."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", level=options.log_level.upper())
    try:
        plain = [_listen(options.host, options.http_port)]
        tls = [_listen(options.host, options.https_port)] if options.https_port else []
        certificates = _certificates(options) if tls else None
    except OSError as error:
        print(f"proxy: {error}", file=sys.stderr)
        return 1
    service = Service(Forwarder(options.trusted_proxy), options.drain_timeout)
    watcher = Watcher(service, certificates, options.routes, options.state)
    # The first table is there before the first request.
    watcher.look()
    server = Server(service, certificates)
    server.start(plain, tls)
    watching = gevent.spawn(watcher.run)
    _wait_for_signal()
    server.stop()
    watching.kill()
    watcher.leave()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="proxy", description=__doc__)
    parser.add_argument("--routes", type=Path, required=True, help="the route table (routes.db), only read")
    parser.add_argument("--state", type=Path, required=True, help="what this proxy reports (proxy.db)")
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on")  # noqa: S104 - it is a server
    parser.add_argument("--http-port", type=int, default=80)
    parser.add_argument("--https-port", type=int, default=0, help="0: no HTTPS")
    parser.add_argument("--default-cert", help="PEM chain for names without a certificate of their own")
    parser.add_argument("--default-key", help="its PEM key")
    parser.add_argument("--trusted-proxy", type=_network, action="append", default=[], metavar="CIDR")
    parser.add_argument("--drain-timeout", type=float, default=30.0, metavar="SECONDS")
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    return parser


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} is no network such as 10.0.0.0/8") from error
    return text


def _listen(host: str, port: int) -> socket.socket:
    try:
        return listen(host, port)
    except OSError as error:
        raise OSError(f"cannot listen on {host} port {port}: {error.strerror}") from None


def _certificates(options: argparse.Namespace) -> Certificates:
    if not (options.default_cert and options.default_key):
        raise OSError("--https-port needs --default-cert and --default-key")
    try:
        return Certificates(context_for(options.default_cert, options.default_key))
    except OSError as error:
        raise OSError(f"the default certificate {options.default_cert} cannot be used: {error}") from None


def _wait_for_signal() -> None:
    told = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, told.set)
    told.wait()


if __name__ == "__main__":
    sys.exit(main())
