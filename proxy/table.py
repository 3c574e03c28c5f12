"""The route table: swapped whole, so no request sees half of a change.

Ten thousand routes are kept as the text that `routes.db` holds of them; a host's routes become objects when its first
request comes, and stay until their text changes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from proxy.route import Routed

# What routes.db holds of a host: the text of its only route, at "/", or of each by prefix.
Text = str | tuple[tuple[str, str], ...]
Compile = Callable[[str, str, str], Routed]
_ROOT = "/"
_CHECKED = '"health":'


class HostRoutes:
    """The routes of one host, longest prefix first; `root` when there is just the one at `/`."""

    __slots__ = ("_routes", "root")

    def __init__(self, routes: list[Routed]) -> None:
        self._routes = sorted(routes, key=lambda route: len(route.prefix), reverse=True)
        self.root = routes[0] if len(routes) == 1 and routes[0].prefix == b"" else None

    def __iter__(self) -> Iterator[Routed]:
        return iter(self._routes)

    def match(self, path: bytes) -> Routed | None:
        """The route with the longest prefix of `path`, by whole segments: /api holds /api and /api/x, not /apix."""
        for route in self._routes:
            prefix = route.prefix
            if path.startswith(prefix) and (len(path) == len(prefix) or not prefix or path[len(prefix)] == 0x2F):
                return route
        return None


class RouteTable:
    """Finds the routes of a host: exact, `*.parent`, `*`."""

    __slots__ = ("_compile", "_compiled", "_texts", "challenges", "generation")

    def __init__(self, texts: Mapping[bytes, Text], compile: Compile, generation: int = 0) -> None:
        self._texts = texts
        self._compile = compile
        self._compiled: dict[bytes, HostRoutes] = {}
        self.challenges: Mapping[bytes, str] = {}
        self.generation = generation

    @property
    def texts(self) -> Mapping[bytes, Text]:
        return self._texts

    def succeed(self, before: "RouteTable") -> None:
        """Take over what `before` compiled: unchanged hosts as they are, changed ones anew."""
        for host, routes in before._compiled.items():
            text = self._texts.get(host)
            if text is None:
                continue
            if text == before._texts.get(host):
                self._compiled[host] = routes
            else:
                self._compile_host(host, text)

    def compile_checked(self, hosts: Iterable[str]) -> None:
        """Of these hosts, make those ready that must not wait for a request: they check their backends."""
        for host in hosts:
            name = host.lower().encode("ascii")
            text = self._texts.get(name, "")
            if name not in self._compiled and any(_CHECKED in part for _, part in _parts(text)):
                self._compile_host(name, text)

    def routes(self) -> Iterator[Routed]:
        """Those that were compiled."""
        for routes in self._compiled.values():
            yield from routes

    def find(self, host: bytes) -> HostRoutes | None:
        """The routes for `host` (lower case, no port), or None."""
        found = self._compiled.get(host)
        if found is not None:
            return found
        for name in (host, b"*." + host.partition(b".")[2], b"*"):
            found = self._compiled.get(name)
            if found is not None:
                return found
            text = self._texts.get(name)
            if text is not None:
                return self._compile_host(name, text)
        return None

    def match(self, host: bytes, path: bytes) -> Routed | None:
        """The route for a request, or None."""
        found = self.find(host)
        return found.match(path) if found else None

    def _compile_host(self, host: bytes, text: Text) -> HostRoutes:
        name = host.decode("ascii")
        routes = [self._compile(name, prefix, part) for prefix, part in _parts(text)]
        found = self._compiled[host] = HostRoutes(routes)
        return found


Key = tuple[str, str]


def changed_texts(
    before: Mapping[bytes, Text], routes: Iterable[tuple[str, str, str]], removed: Iterable[Key]
) -> dict[bytes, Text]:
    """The texts by host after some routes `(host, path_prefix, text)` have changed and others have gone."""
    texts = dict(before)
    # Many routes say the same: one text serves them.
    same: dict[str, str] = {}
    for host, prefix in removed:
        name = host.lower().encode("ascii")
        left = [part for part in _parts(texts.get(name, ())) if part[0] != prefix]
        if left:
            texts[name] = _text(left)
        else:
            texts.pop(name, None)
    for host, prefix, text in routes:
        name = host.lower().encode("ascii")
        known = texts.get(name)
        text = same.setdefault(text, text)
        if prefix == _ROOT and (known is None or isinstance(known, str)):
            texts[name] = text
        else:
            texts[name] = _text([*(part for part in _parts(known or ()) if part[0] != prefix), (prefix, text)])
    return texts


def _parts(text: Text) -> tuple[tuple[str, str], ...]:
    return ((_ROOT, text),) if isinstance(text, str) else text


def _text(parts: list[tuple[str, str]]) -> Text:
    return parts[0][1] if len(parts) == 1 and parts[0][0] == _ROOT else tuple(parts)
