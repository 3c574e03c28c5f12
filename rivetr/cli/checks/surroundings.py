"""Names, the clock, and whether this data folder's instance is up."""

import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

from rivetr import config
from rivetr.cli.checks.finding import Finding, ok, problem, warning
from rivetr.cli.client import Client
from rivetr.cli.instance import local_url
from rivetr.errors import Misconfigured, OutsideError

_NAME_SECONDS = 5.0
# Clocks of one machine may differ by this much from what a file system wrote.
_SLACK_SECONDS = 300


def base_domain(settings: config.Settings) -> Iterator[Finding]:
    """Whether apps' names below proxy.base_domain lead here."""
    base = settings.proxy.base_domain
    name = f"doctor.{base}"
    addresses = _addresses(name)
    if base == "localhost" or base.endswith(".localhost"):
        yield _loopback(name, addresses)
    elif not addresses:
        mend = f"Add a DNS record *.{base} with this machine's address, or change proxy.base_domain."
        yield warning("base domain", f"{name} has no address, so apps without a domain cannot be reached.", mend)
    elif any(_is_local(address) for address in addresses):
        yield ok("base domain", f"{name} leads to this machine.")
    else:
        found = ", ".join(addresses)
        mend = f"Check the DNS record *.{base}; all is well if a router or load balancer there forwards to us."
        yield warning("base domain", f"{name} leads to {found}, which is no address of this machine.", mend)


def _loopback(name: str, addresses: list[str]) -> Finding:
    if addresses and all(_is_loopback(address) for address in addresses):
        return ok("base domain", f"{name} leads to this machine.")
    # RFC 6761, 6.3: browsers resolve *.localhost themselves, the C library need not.
    mend = "Browsers and curl know it anyway; for other programs: apt-get install libnss-myhostname."
    where = ", ".join(addresses) or "no address"
    return warning("base domain", f"This machine's resolver finds {where} for {name}.", mend)


def _addresses(name: str) -> list[str]:
    """The addresses of `name`; none when nobody knows it or the resolver takes too long."""
    found: list[str] = []

    def ask() -> None:
        try:
            found.extend(str(entry[4][0]) for entry in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError):
            found.clear()

    # The resolver's own time-out can be minutes.
    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_NAME_SECONDS)
    return list(dict.fromkeys(found))


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"


def _is_local(address: str) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Only an address of this machine can be bound.
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def clock(settings: config.Settings) -> Iterator[Finding]:
    """Whether the clock is behind files that exist already; certificates and sessions depend on it."""
    now = time.time()
    files = [Path(__file__), settings.database, settings.queue_database]
    latest = max((file.stat().st_mtime for file in files if file.exists()), default=now)
    shown = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    if now + _SLACK_SECONDS < latest:
        written = datetime.fromtimestamp(latest, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        message = f"The clock says {shown}, but files here were written at {written}."
        yield problem("clock", message, "Set the clock (timedatectl set-ntp true).")
    else:
        yield ok("clock", f"The clock says {shown}.")


def processes(settings: config.Settings) -> Iterator[Finding]:
    """What the instance that `rivetr up` started with this data folder says of itself."""
    try:
        client = Client(local_url(settings), None)
    except Misconfigured:
        yield ok("processes", "'rivetr up' has not been started with this data folder yet.")
        return
    try:
        report = client.health()
    except OutsideError as error:
        yield warning("processes", error.message, "Start it: rivetr up")
        return
    down = [part for part in ("web", "worker", "proxy", "runtime") if report.get(part) == "down"]
    if down:
        message = f"Of the instance at {client.url}, this is down: {', '.join(down)}."
        yield problem("processes", message, "See what 'rivetr up' printed; then start it again.")
    else:
        yield ok("processes", f"The instance at {client.url} is up (version {report.get('version')}).")
