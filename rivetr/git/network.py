"""Where a Git server is, and whether we may go there: addresses are checked, then pinned for Git."""

import ipaddress
import re
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from rivetr.errors import CloneFailed
from rivetr.specs.git import DEFAULT_PORTS, scheme_of


@dataclass(frozen=True, slots=True)
class Server:
    """A Git server: `address` is the checked IP address that Git must use."""

    scheme: str
    host: str
    port: int
    address: str


def locate(url: str, allow_private: bool) -> Server | None:
    """The server of `url`, None for a local repository. Raises `CloneFailed` for private addresses."""
    scheme = scheme_of(url)
    if scheme == "file":
        return None
    host, port = _host_and_port(url, scheme)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        raise CloneFailed(f"The host {host} cannot be found: check the Git URL and the server's DNS.") from None
    addresses = [str(entry[4][0]) for entry in found]
    if not allow_private:
        for address in addresses:
            _refuse_private(host, address)
    return Server(scheme, host, port, addresses[0])


def _host_and_port(url: str, scheme: str) -> tuple[str, int]:
    if "://" not in url:
        return re.split(r"[@:]", url)[1], DEFAULT_PORTS["ssh"]
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or DEFAULT_PORTS[scheme]


def _refuse_private(host: str, text: str) -> None:
    address: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if not address.is_global or address.is_multicast:
        raise CloneFailed(
            f"{host} is a private address, which Rivetr does not fetch from: "
            "set git.allow_private_networks = true if your Git server is there."
        )
