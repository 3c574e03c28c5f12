"""The command line of `python -m proxy`."""

import argparse
import ipaddress
from dataclasses import fields
from pathlib import Path

from proxy.limits import Limits

_WORDS = {
    "header_timeout": "for a request's head to come",
    "idle_timeout": "a kept-alive connection may rest",
    "body_timeout": "a client may be silent in a body, or take nothing of an answer",
    "connect_timeout": "for a connection to a backend",
    "first_byte_timeout": "for a backend's answer to begin",
    "stream_timeout": "a backend may be silent in an answer, and a tunnel altogether",
    "max_head_bytes": "of a request's or an answer's head",
    "max_fields": "header fields of a request",
    "max_request_line": "of a request's first line",
    "max_body_bytes": "of a request's body (0: no limit)",
    "max_connections": "connections at a time (0: no limit)",
    "max_connections_per_client": "of them from one address (0: no limit)",
}


def parser() -> argparse.ArgumentParser:
    """All options; those of `Limits` have their names there."""
    made = argparse.ArgumentParser(prog="proxy", description="Rivetr's reverse proxy.")
    made.add_argument("--routes", type=Path, required=True, help="the route table (routes.db), only read")
    made.add_argument("--state", type=Path, required=True, help="what this proxy reports (proxy.db)")
    made.add_argument("--host", default="0.0.0.0", help="address to listen on")  # noqa: S104 - it is a server
    made.add_argument("--http-port", type=int, default=80)
    made.add_argument("--https-port", type=int, default=0, help="0: no HTTPS")
    made.add_argument("--listen-fd", type=int, help="a listening socket that we inherit, instead of --http-port")
    made.add_argument("--listen-tls-fd", type=int, help="the same for HTTPS")
    made.add_argument("--default-cert", help="PEM chain for names without a certificate of their own")
    made.add_argument("--default-key", help="its PEM key")
    made.add_argument("--trusted-proxy", type=_network, action="append", default=[], metavar="CIDR")
    made.add_argument("--proxy-protocol", action="store_true", help="trusted proxies speak the PROXY protocol")
    made.add_argument("--drain-timeout", type=float, default=30.0, metavar="SECONDS")
    made.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    made.add_argument("--access-log", default="", metavar="FILE", help="a line a request; -: standard output")
    made.add_argument("--access-log-format", default="json", choices=("json", "combined"))
    made.add_argument("--access-log-max-bytes", type=int, default=64 * 1024 * 1024)
    made.add_argument("--access-log-keep", type=int, default=3, help="how many older files stay")
    for field in fields(Limits):
        unit = "SECONDS" if isinstance(field.default, float) else "N"
        option = f"--{field.name.replace('_', '-')}"
        made.add_argument(
            option, type=type(field.default), default=field.default, metavar=unit, help=_WORDS[field.name]
        )
    return made


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} is no network such as 10.0.0.0/8") from error
    return text
