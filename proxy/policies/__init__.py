"""What a request meets before its backend (`gates`), and what happens to the answer (headers, compression).

Each file holds one concern: its `gate(policy)` gives a function that lets a request pass (None) or
answers it, gives None when the policy does not ask for it, and raises `BadValue`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from proxy.policies import allow, basic_auth, maintenance, rate_limit, redirect
from proxy.policies.base import BadValue, Gate, closed, complain

_Maker = Callable[[Mapping[str, Any]], Gate | None]

# In the order in which requests meet them: strangers cost least, and passwords are asked for only
# over TLS where it is wanted, and only of clients within their limit.
_MAKERS: tuple[tuple[str, _Maker], ...] = (
    ("allow", allow.gate),
    ("redirects", redirect.gate),
    ("rate_limit", rate_limit.gate),
    ("basic_auth", basic_auth.gate),
    ("maintenance", maintenance.gate),
)
_PROTECTING = frozenset(("allow", "rate_limit", "basic_auth", "maintenance"))


def gates(policy: Mapping[str, Any]) -> tuple[Gate, ...]:
    """What requests of a route meet, in order; never raises.

    A value that cannot be used is logged once. A protecting policy then answers 503 to all, another
    is left out.
    """
    if not isinstance(policy, Mapping):
        complain("", "policy", "not an object")
        return (closed("policy"),)
    made = (_made(key, make, policy) for key, make in _MAKERS)
    return tuple(gate for gate in made if gate is not None)


def _made(key: str, make: _Maker, policy: Mapping[str, Any]) -> Gate | None:
    try:
        return make(policy)
    except BadValue as bad:
        why = str(bad)
    except Exception as error:
        # Whatever else a value may do, it must not stop the proxy from reading its table.
        why = type(error).__name__
    complain(policy.get("app", ""), key, why)
    return closed(key) if key in _PROTECTING else None
