"""Who asks, told to the backend: X-Forwarded-For, -Proto and -Host, believed only from trusted peers."""

import ipaddress
from collections.abc import Iterable, Sequence
from functools import lru_cache

from proxy.head import Field

_CLAIMS = (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Forwarder:
    """Rewrites the forwarding fields of requests; `trusted` are networks of proxies in front of us."""

    def __init__(self, trusted: Iterable[str]) -> None:
        self._trusted: Sequence[Network] = [ipaddress.ip_network(text, strict=False) for text in trusted]
        self._is_trusted = lru_cache(maxsize=1024)(self._look)

    def _look(self, peer: str) -> bool:
        address = ipaddress.ip_address(peer.partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._trusted)

    def rewrite(self, fields: list[Field], peer: str, scheme: bytes, authority: bytes) -> list[Field]:
        """The fields with forwarding ones that hold for this peer (an IP address)."""
        is_trusted = bool(self._trusted) and self._is_trusted(peer)
        claimed: dict[bytes, bytes] = {}
        kept = []
        for field in fields:
            key = field[0].lower()
            if not _is_claim(key):
                kept.append(field)
            elif is_trusted and key in _CLAIMS:
                claimed[key] = claimed[key] + b", " + field[1] if key in claimed else field[1]
            elif is_trusted and b"_" not in key:
                kept.append(field)
        before = claimed.get(b"x-forwarded-for")
        kept.append((b"X-Forwarded-For", (before + b", " if before else b"") + peer.encode()))
        kept.append((b"X-Forwarded-Proto", claimed.get(b"x-forwarded-proto", scheme)))
        kept.append((b"X-Forwarded-Host", claimed.get(b"x-forwarded-host", authority)))
        return kept


def _is_claim(key: bytes) -> bool:
    """Whether a field (lower case) says something of the client; with `_` it is the same to CGI-like backends."""
    key = key.replace(b"_", b"-")
    return key.startswith(b"x-forwarded-") or key in (b"forwarded", b"x-real-ip")
