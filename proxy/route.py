"""One route, ready to use: its backends, the policies that its requests meet, and what it has counted."""

import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from proxy import contract, policies
from proxy.backends import Backend, Backends
from proxy.health import Plan, read_plan
from proxy.limits import Limits
from proxy.policies.base import Gate, closed, complain, flag, number
from proxy.policies.headers import rewriter
from proxy.traffic import Counters

log = logging.getLogger("proxy")

_PAUSED_SECONDS = 30.0
_COOKIE_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}")
_BALANCES = ("round_robin", "least_in_flight")


class Routed:
    """Where the requests of a host and path prefix go, and what they meet on the way.

    `is_plain`: nothing but backends, so a request needs no look at its policies; `is_verbatim`: answers go on as they
    came.
    """

    __slots__ = (
        "_slots", "_turn", "app", "compresses", "counters", "first_byte_seconds", "gates", "health", "host", "is_least",
        "is_plain", "is_verbatim", "max_body_bytes", "paused_seconds", "policy", "prefix", "rewrite", "sticky",
        "strips", "unavailable",
    )  # fmt: skip

    def __init__(self, host: str, prefix: str, backends: list[tuple[Backend, int]], policy: Mapping[str, Any]) -> None:
        self.host = host
        self.prefix = prefix.rstrip("/").encode("ascii", "replace")
        self.policy = policy
        self._slots = [backend for backend, weight in backends for _ in range(max(1, min(weight, 100)))]
        self._turn = 0
        self.app = str(policy.get("app", ""))
        self.unavailable = str(policy.get("unavailable", ""))
        self.gates: tuple[Gate, ...] = policies.gates(policy)
        self.rewrite: Callable[[list[tuple[bytes, bytes]]], list[tuple[bytes, bytes]]] | None = rewriter(policy)
        self.compresses = flag(policy, "compress")
        self.strips = flag(policy, "strip_prefix") and bool(self.prefix)
        self.is_least = policy.get("balance") == "least_in_flight"
        self.sticky = self._cookie_name()
        self.max_body_bytes = 0
        self.first_byte_seconds = 0.0
        self.paused_seconds = 0.0
        self.health: Plan | None = None
        self.counters = Counters()
        self.is_plain = self.is_verbatim = False

    def settle(self, limits: Limits) -> None:
        """Take over what has a default for all routes."""
        policy = self.policy
        self.max_body_bytes = int(number(policy, "max_body_bytes", limits.max_body_bytes, self.app))
        self.first_byte_seconds = number(policy, "first_byte_seconds", limits.first_byte_timeout, self.app)
        if "paused" in policy:
            self._pause(policy["paused"])
        if "health" in policy:
            self.health = read_plan(policy["health"], self.app)
        if policy.get("balance", _BALANCES[0]) not in _BALANCES:
            complain(self.app, "balance", f"not one of {', '.join(_BALANCES)}")
        self.is_verbatim = self.rewrite is None and not self.compresses and not self.sticky
        self.is_plain = not (self.gates or self.strips or self.paused_seconds or self.sticky or self.max_body_bytes)

    def _pause(self, value: object) -> None:
        if isinstance(value, dict):
            self.paused_seconds = number(value, "limit_seconds", _PAUSED_SECONDS, self.app)
        else:
            # It was to be held back: what cannot be read must not let requests through.
            complain(self.app, "paused", "must be an object")
            self.gates = (*self.gates, closed("paused"))

    def _cookie_name(self) -> bytes:
        name = self.policy.get("sticky", "")
        if isinstance(name, str) and (not name or _COOKIE_NAME.fullmatch(name)):
            return name.encode()
        complain(self.app, "sticky", "not a cookie's name")
        return b""

    @property
    def backends(self) -> list[Backend]:
        """Each one once."""
        return list(dict.fromkeys(self._slots))

    @property
    def has_backends(self) -> bool:
        return bool(self._slots)

    def order(self, wanted: Backend | None = None) -> list[Backend]:
        """The backends in the order to try them: a visitor's own, then by turn or load, those that fail last."""
        slots = self._slots
        if len(slots) < 2:
            return slots
        turn = self._turn = (self._turn + 1) % len(slots)
        ordered = list(dict.fromkeys(slots[turn:] + slots[:turn]))
        if self.is_least:
            ordered.sort(key=lambda backend: backend.in_flight)
        now = time.monotonic()
        ordered.sort(key=lambda backend: not backend.is_preferred(now))
        if wanted is not None and wanted in ordered and wanted.is_preferred(now):
            ordered.remove(wanted)
            ordered.insert(0, wanted)
        return ordered


class RouteCompiler:
    """Makes routes out of the text that `routes.db` holds of them; counters outlive a changed text."""

    def __init__(self, backends: Backends, limits: Limits) -> None:
        self._backends = backends
        self._limits = limits
        self.counters: dict[tuple[str, str], Counters] = {}

    def compile(self, host: str, prefix: str, text: str) -> Routed:
        """The route; what of the text makes no sense is logged and left out."""
        try:
            entries, policy = contract.parse_route(text)
            route = Routed(host, prefix, self._read_backends(host, entries), policy)
        except (ValueError, TypeError, AttributeError) as error:
            log.error("The route %s%s cannot be read and answers 503: %s", host, prefix, error)
            route = Routed(host, prefix, [], {})
        route.settle(self._limits)
        route.counters = self.counters.setdefault((host, prefix), route.counters)
        return route

    def _read_backends(self, host: str, entries: list[dict[str, Any]]) -> list[tuple[Backend, int]]:
        """Raises `TypeError` for what is no list."""
        found = []
        for entry in entries:
            try:
                found.append((self._backends.get(entry["address"]), int(entry.get("weight", 1))))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                log.error("A backend of %s is no address and is left out: %s", host, error)
        return found
