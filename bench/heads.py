"""The request heads that clients send: bare ones, and a browser's with a cookie that differs by visitor."""

import uuid
from collections.abc import Sequence

VISITORS = 64
# Stands in a head for something that no other request has; the load generator fills it in.
UNIQUE = "@unique@"

_AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
)


def bare(host: str, path: str = "/") -> str:
    """The least that HTTP/1.1 allows."""
    return _head(path, f"Host: {host}")


def closing(host: str) -> str:
    """A bare head that asks for the connection's end."""
    return _head("/", f"Host: {host}", "Connection: close")


def browser(host: str, cookie: str, agent: int = 0) -> str:
    """Host and twelve more fields, as a browser sends them for something on a page."""
    return _head(
        "/",
        f"Host: {host}",
        f"User-Agent: {_AGENTS[agent % len(_AGENTS)]}",
        "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
        "Accept-Language: en-GB,en;q=0.7,de;q=0.3",
        "Accept-Encoding: gzip, deflate, br, zstd",
        f"Referer: http://{host}/projects/overview?page=2",
        f"Cookie: session={cookie}; theme=dark; consent=1",
        "DNT: 1",
        "Upgrade-Insecure-Requests: 1",
        "Sec-Fetch-Dest: document",
        "Sec-Fetch-Mode: navigate",
        "Sec-Fetch-Site: same-origin",
        "Cache-Control: max-age=0",
    )


def visitors(host: str) -> list[str]:
    """Browsers that come again, each with a cookie of its own."""
    return [browser(host, uuid.uuid4().hex, number) for number in range(VISITORS)]


def strangers(host: str) -> list[str]:
    """A browser's head whose cookie no other request has: no cache of heads ever helps."""
    return [browser(host, uuid.uuid4().hex[:16] + UNIQUE, number) for number in range(VISITORS)]


def anybody(hosts: Sequence[str]) -> list[str]:
    """A bare head for each host."""
    return [bare(host) for host in hosts]


def _head(path: str, *fields: str) -> str:
    return "\r\n".join((f"GET {path} HTTP/1.1", *fields, "", ""))
