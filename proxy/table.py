"""The route table as one frozen value: swapped whole, never changed, so no request sees half of a change."""

from collections.abc import Mapping, Sequence

from proxy.contract import Route, Snapshot


class RouteTable:
    """Finds the route of a request: exact host, `*.parent`, `*`; then the longest path prefix."""

    __slots__ = ("_by_host", "addresses", "challenges", "generation")

    def __init__(self, snapshot: Snapshot) -> None:
        by_host: dict[str, list[Route]] = {}
        for route in snapshot.routes:
            by_host.setdefault(route.host.lower(), []).append(route)
        self._by_host: Mapping[str, Sequence[Route]] = {
            host: sorted(routes, key=lambda route: len(route.path_prefix), reverse=True)
            for host, routes in by_host.items()
        }
        self.addresses = frozenset(backend.address for route in snapshot.routes for backend in route.backends)
        self.challenges = dict(snapshot.challenges)
        self.generation = snapshot.generation

    def match(self, host: str, path: str) -> Route | None:
        """The route for `host` (lower case, no port) and `path`, or None."""
        for name in (host, f"*.{host.partition('.')[2]}", "*"):
            for route in self._by_host.get(name, ()):
                if _is_below(path, route.path_prefix):
                    return route
        return None


def _is_below(path: str, prefix: str) -> bool:
    # By whole segments: /api holds /api and /api/x, not /apix.
    base = prefix.rstrip("/")
    return not base or path == base or path.startswith(f"{base}/")
