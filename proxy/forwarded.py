"""Who asks, told to the backend: X-Forwarded-* and Forwarded (RFC 7239), believed only from trusted peers."""

import ipaddress
from collections.abc import Iterable, Sequence
from functools import lru_cache

from proxy.fields import Field, join_fields
from proxy.head import RequestHead

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_FOR, _PROTO, _HOST, _FORWARDED = b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"forwarded"


def plain_address(text: str) -> str:
    """An IP address without a zone, and as IPv4 where it is one in IPv6 clothes."""
    if ":" not in text:
        return text
    address = ipaddress.IPv6Address(text.partition("%")[0])
    return str(address.ipv4_mapped or address)


class Forwarder:
    """Makes the forwarding fields of requests; `trusted` are networks of proxies in front of us."""

    def __init__(self, trusted: Iterable[str]) -> None:
        self._trusted: Sequence[Network] = [ipaddress.ip_network(text, strict=False) for text in trusted]
        self.trusts_anybody = bool(self._trusted)
        self.is_trusted = lru_cache(maxsize=1024)(self._look)
        self.ending = lru_cache(maxsize=1024)(self._ending)

    def _look(self, peer: str) -> bool:
        if not self.trusts_anybody:
            return False
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return False
        return any(address in network for network in self._trusted)

    def _ending(self, peer: str, is_tls: bool) -> bytes:
        """What follows `head.forwarded_host` for a peer (an IP address), up to the end of the head."""
        scheme = b"https" if is_tls else b"http"
        address = peer.encode()
        node = b'"[%s]"' % address if b":" in address else address
        return b"proto=%s;for=%s\r\nX-Forwarded-For: %s\r\nX-Forwarded-Proto: %s\r\n\r\n" % (
            scheme,
            node,
            address,
            scheme,
        )

    def lines(self, request: RequestHead, peer: str, is_tls: bool) -> bytes:
        """All lines of the request's head after the first one, up to its end."""
        if not self.is_trusted(peer):
            return request.lines() + self.ending(peer, is_tls)
        return request.end_to_end_lines() + self._with_claims(request, peer, is_tls)

    def _with_claims(self, request: RequestHead, peer: str, is_tls: bool) -> bytes:
        claimed: dict[bytes, bytes] = {}
        kept: list[Field] = []
        for name, value in request.fields.block.claims:
            key = name.lower()
            if key in (_FOR, _PROTO, _HOST, _FORWARDED):
                claimed[key] = claimed[key] + b", " + value if key in claimed else value
            elif b"_" not in key:
                kept.append((name, value))
        address, scheme = peer.encode(), b"https" if is_tls else b"http"
        node = b'"[%s]"' % address if b":" in address else address
        here = b"for=%s;proto=%s" % (node, scheme)
        kept += [
            (b"X-Forwarded-For", _appended(claimed.get(_FOR), address)),
            (b"X-Forwarded-Proto", claimed.get(_PROTO, scheme)),
            (b"X-Forwarded-Host", claimed.get(_HOST, request.authority)),
            (b"Forwarded", _appended(claimed.get(_FORWARDED), here)),
        ]
        return join_fields(kept) + b"\r\n"

    def is_secure(self, request: RequestHead, peer: str, is_tls: bool) -> bool:
        """Whether whoever asks came over TLS: to us, or to a trusted proxy before us."""
        if is_tls or not self.is_trusted(peer):
            return is_tls
        told = [value for name, value in request.fields.block.claims if name.lower() == _PROTO]
        return told[-1:] == [b"https"]

    def client(self, request: RequestHead, peer: str) -> str:
        """The address of whoever asks: the peer, or what trusted proxies say of theirs, the nearest untrusted one."""
        if not self.is_trusted(peer):
            return peer
        told = b",".join([value for name, value in request.fields.block.claims if name.lower() == _FOR])
        for part in reversed(told.decode("latin-1").split(",")):
            try:
                address = plain_address(str(ipaddress.ip_address(part.strip())))
            except ValueError:
                break
            if not self.is_trusted(address):
                return address
            peer = address
        return peer


def _appended(before: bytes | None, value: bytes) -> bytes:
    return b"%s, %s" % (before, value) if before else value
