"""The client's address as bytes, the same client always the same bytes."""

import socket

_MAPPED = bytes(10) + b"\xff\xff"


def packed(peer: str) -> bytes:
    """4 bytes for IPv4, also when mapped into IPv6 (::ffff:1.2.3.4); else 16. Raises `OSError`."""
    if ":" not in peer:
        return socket.inet_pton(socket.AF_INET, peer)
    address = socket.inet_pton(socket.AF_INET6, peer.partition("%")[0])
    return address[12:] if address.startswith(_MAPPED) else address


def subscriber(peer: str) -> bytes:
    """What one client can hold: an IPv4 address, or an IPv6 /64, in which anybody has 2**64 addresses to change to.

    Addresses that are none count as one client.
    """
    try:
        return packed(peer)[:8]
    except (OSError, ValueError):
        return b""
