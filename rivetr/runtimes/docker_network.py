"""One private bridge network per app, with a small subnet that we choose.

The engine's own choice comes from pools that hold about 31 networks.
"""

import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from docker import APIClient
from docker.errors import APIError, NotFound

from rivetr.errors import RuntimeFailed

# 1,024 networks of 61 containers each.
POOL = IPv4Network("10.213.0.0/16")
_PREFIX = 26
_SETTLE_SECONDS = 5.0


def ensure_network(client: APIClient, name: str, labels: Mapping[str, str]) -> None:
    """Make the network unless it is there; of several processes that do it at once, one makes it."""
    if _named(client, name):
        return
    for subnet in _free_subnets(client, name):
        try:
            made = client.create_network(
                name, driver="bridge", ipam=_ipam(subnet), check_duplicate=True, labels=dict(labels)
            )
        except APIError as error:
            words = str(error.explanation).lower()
            if "already exists" in words:
                return
            if "overlap" not in words:
                raise
            # Whoever took the subnet may be making this very network, which shows only when it is done.
            if _appears(client, name):
                return
            continue
        _withdraw_if_second(client, name, made["Id"])
        return
    raise RuntimeFailed(f"No subnet of {POOL} is free for the network {name}: remove networks nobody uses.")


def _named(client: APIClient, name: str) -> list[dict[str, Any]]:
    # The engine's filter matches parts of names.
    return [network for network in client.networks(names=[name]) if network["Name"] == name]


def _free_subnets(client: APIClient, name: str) -> Iterator[IPv4Network]:
    taken: list[IPv4Network | IPv6Network] = []
    for network in client.networks():
        for config in (network.get("IPAM") or {}).get("Config") or []:
            if config.get("Subnet"):
                taken.append(ip_network(config["Subnet"], strict=False))
    subnets = list(POOL.subnets(new_prefix=_PREFIX))
    # The name decides where to begin, so that processes racing for one network collide on its subnet
    # and those making different networks do not.
    first = zlib.crc32(name.encode()) % len(subnets)
    for subnet in subnets[first:] + subnets[:first]:
        if not any(subnet.overlaps(other) for other in taken):
            yield subnet


def _ipam(subnet: IPv4Network) -> dict[str, Any]:
    return {"Driver": "default", "Config": [{"Subnet": str(subnet), "Gateway": str(subnet[1])}]}


def _appears(client: APIClient, name: str) -> bool:
    end = time.monotonic() + _SETTLE_SECONDS
    while time.monotonic() < end:
        if _named(client, name):
            return True
        time.sleep(0.05)
    return False


def _withdraw_if_second(client: APIClient, name: str, id: str) -> None:
    """Older engines let two networks of one name slip through; the older one stays, in everybody's eyes."""
    others = sorted(_named(client, name), key=lambda network: (network["Created"], network["Id"]))
    if others and others[0]["Id"] != id:
        with suppress(NotFound):
            client.remove_network(id)
