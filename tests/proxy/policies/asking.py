"""Requests and clocks for tests of policies."""

from proxy.policies import gates
from proxy.policies.base import Answer, Asked


def asked(
    target: bytes = b"/", host: bytes = b"app.test", peer: str = "192.0.2.1", is_tls: bool = False, **fields: str
) -> Asked:
    """A GET request; `fields` are named with _ for -. An authority may be given as host."""
    name, _, _port = host.partition(b":") if not host.startswith(b"[") else (host, b"", b"")
    listed = [(key.replace("_", "-").encode(), value.encode()) for key, value in fields.items()]
    return Asked(b"GET", name, host, target, target.partition(b"?")[0], is_tls, peer, listed)


def answer(policy: dict[str, object], request: Asked) -> Answer | None:
    """What the first gate that does not let the request pass answers."""
    return next((found for gate in gates(policy) if (found := gate(request))), None)


def status(policy: dict[str, object], request: Asked) -> int:
    """The status of that answer; 200 when all let it pass."""
    found = answer(policy, request)
    return found.status if found else 200


class Clock:
    """A clock that stands until told otherwise."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now
