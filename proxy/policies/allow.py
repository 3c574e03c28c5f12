"""`allow`: only clients of these networks pass."""

import ipaddress
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from proxy.policies.base import Answer, Asked, BadValue, Gate
from proxy.policies.client import packed

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_REFUSED = Answer(
    403,
    "This app cannot be reached from your network.",
    "the app's list of allowed networks does not hold the address that this visitor came from.",
)


def gate(policy: Mapping[str, Any]) -> Gate | None:
    """403 for clients outside the networks; an empty list lets nobody in."""
    if "allow" not in policy:
        return None
    networks = _networks(policy["allow"])

    @lru_cache(maxsize=1024)
    def is_allowed(peer: str) -> bool:
        try:
            address = ipaddress.ip_address(packed(peer))
        except (OSError, ValueError):
            return False
        return any(address in network for network in networks)

    def check(asked: Asked) -> Answer | None:
        return None if is_allowed(asked.peer) else _REFUSED

    return check


def _networks(value: object) -> Sequence[Network]:
    # A text is a sequence too, and ip_network() takes numbers: 10 would be 0.0.0.10.
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) for text in value):
        raise BadValue("not a list of networks")
    try:
        return [_unmapped(ipaddress.ip_network(text, strict=False)) for text in value]
    except ValueError:
        raise BadValue("not a list of networks such as 10.0.0.0/8") from None


def _unmapped(network: Network) -> Network:
    # Clients of ::ffff:10.0.0.0/104 are compared as what they are, IPv4.
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is None or network.prefixlen < 96:
        return network
    return ipaddress.IPv4Network((mapped, network.prefixlen - 96))
