"""A client of a running instance's REST API, on the standard library alone.

Redirects are not followed, so the token goes nowhere but to the address that was given.
"""

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, quote, urlencode, urlsplit

import rivetr
from rivetr.cli import sse
from rivetr.cli.output import safe
from rivetr.errors import Invalid, Misconfigured, OutsideError

if TYPE_CHECKING:
    from http.client import HTTPConnection, HTTPResponse

# Seconds for connecting and for each wait. A stream says something every 15 seconds.
_ANSWER_SECONDS, _STREAM_SECONDS = 60.0, 45.0
_MAX_ANSWER_BYTES = 64 * 1024 * 1024
_PAGE = 200
_TEMPORARY = (408, 429, 500, 502, 503, 504)
HOW_TO_GET_ONE = "'rivetr token create NAME --scope read --scope deploy' on the server makes one"

Answer = dict[str, Any]


class Unreachable(OutsideError):
    """The instance cannot be reached, or the connection to it broke."""

    code = "unreachable"

    def __init__(self, message: str, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


class Refused(OutsideError):
    """The instance answered with an error; `answered` is its HTTP status."""

    code = "refused"

    def __init__(self, message: str, answered: int) -> None:
        super().__init__(message)
        self.answered = answered
        self.permanent = answered not in _TEMPORARY


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good or parts.query or parts.fragment or parts.username is not None or not url.isprintable():
        raise Misconfigured("RIVETR_URL must be an address such as https://rivetr.example.com, without credentials.")
    return parts


class Client:
    """One instance at `url`; every method raises `Unreachable` or `Refused`."""

    def __init__(self, url: str, token: str | None) -> None:
        self._parts = _checked(url)
        self.url = url.rstrip("/")
        self._token = token

    def get(self, *path: str, **query: object) -> Answer:
        """The object at /api/PATH."""
        return self._object("GET", _target(path, query))

    def post(self, *path: str, body: Mapping[str, Any] | None = None) -> Answer:
        """Send `body` (or none) to /api/PATH; gives the object of the answer."""
        return self._object("POST", _target(path, {}), body)

    def put(self, *path: str, body: Mapping[str, Any]) -> Answer:
        """Put `body` at /api/PATH; gives the object of the answer."""
        return self._object("PUT", _target(path, {}), body)

    def delete(self, *path: str) -> None:
        """Remove what is at /api/PATH."""
        self._bytes("DELETE", _target(path, {}))

    def items(self, *path: str) -> list[Answer]:
        """The whole list at /api/PATH, over all its pages."""
        found: list[Answer] = []
        query: dict[str, object] = {"limit": _PAGE}
        while True:
            page = self.get(*path, **query)
            items = page.get("items")
            if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
                raise self._stranger()
            found += items
            if not page.get("next"):
                return found
            query["cursor"] = page["next"]

    def text(self, *path: str, **query: object) -> str:
        """The plain text at /api/PATH."""
        return self._bytes("GET", _target(path, query)).decode("utf-8", "replace")

    def health(self) -> Answer:
        """What /health says, also when it says that something is down (status 503)."""
        with self._answer("GET", "/health", None, _ANSWER_SECONDS) as response:
            if response.status != 503:
                self._refuse_errors(response)
            content = self._read(response)
            if response.status == 503 and b'"web"' not in content:
                # Not ours: what stands before the instance could not reach it.
                raise self._refusal(response.status, content)
            return self._parse(content)

    def events(self, *path: str) -> Iterator[Answer | None]:
        """The messages of the event stream at /api/PATH as they come, None for a sign of life.

        A stream that breaks raises `Unreachable`; one that the server ends just ends.
        """
        with self._answer("GET", _target(path, {}), None, _STREAM_SECONDS) as response:
            self._refuse_errors(response)
            if response.headers.get_content_type() != "text/event-stream":
                raise self._stranger()
            try:
                yield from sse.messages(self._chunks(response))
            except ValueError:
                raise self._stranger() from None

    def _chunks(self, response: "HTTPResponse") -> Iterator[bytes]:
        while True:
            with self._translated():
                chunk = response.read1(65536)
            if not chunk:
                return
            yield chunk

    def _object(self, method: str, target: str, body: Mapping[str, Any] | None = None) -> Answer:
        return self._parse(self._bytes(method, target, body))

    def _parse(self, content: bytes) -> Answer:
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError):
            raise self._stranger() from None
        if not isinstance(answer, dict):
            raise self._stranger()
        return answer

    def _bytes(self, method: str, target: str, body: Mapping[str, Any] | None = None) -> bytes:
        with self._answer(method, target, body, _ANSWER_SECONDS) as response:
            self._refuse_errors(response)
            return self._read(response)

    @contextmanager
    def _answer(
        self, method: str, target: str, body: Mapping[str, Any] | None, seconds: float
    ) -> Iterator["HTTPResponse"]:
        headers = {"User-Agent": f"rivetr/{rivetr.__version__}", "Connection": "close"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps(body).encode()
        with closing(self._connection(seconds)) as connection:
            with self._translated():
                connection.request(method, self._parts.path.rstrip("/") + target, content, headers)
                response = connection.getresponse()
            with response:
                yield response

    def _connection(self, seconds: float) -> "HTTPConnection":
        from http.client import HTTPConnection, HTTPSConnection

        host = self._parts.hostname or ""
        if self._parts.scheme == "http":
            return HTTPConnection(host, self._parts.port, timeout=seconds)
        import ssl

        return HTTPSConnection(host, self._parts.port, timeout=seconds, context=ssl.create_default_context())

    def _read(self, response: "HTTPResponse") -> bytes:
        with self._translated():
            content = response.read(_MAX_ANSWER_BYTES + 1)
        if len(content) > _MAX_ANSWER_BYTES:
            raise self._stranger()
        return content

    def _refuse_errors(self, response: "HTTPResponse") -> None:
        if 300 <= response.status < 400:
            where = safe(response.headers.get("Location", "elsewhere"))
            raise Refused(f"{self.url} redirects to {where}: set RIVETR_URL to where it leads.", response.status)
        if response.status >= 400:
            raise self._refusal(response.status, self._read(response))

    def _refusal(self, status: int, content: bytes) -> Refused:
        try:
            error = json.loads(content)["error"]
            message = str(error["message"])
            fields = {str(name): str(why) for name, why in (error.get("fields") or {}).items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            return Refused(f"{self.url} answered with status {status} and no reason: is it Rivetr?", status)
        details = [f"{name}: {why}" for name, why in fields.items() if f"{name}: {why}" not in message]
        if status == 401:
            message += f" RIVETR_TOKEN is what was sent; {HOW_TO_GET_ONE}."
        return Refused(safe("\n  ".join([message, *details])), status)

    def _stranger(self) -> Unreachable:
        return Unreachable(f"{self.url} does not answer as Rivetr does: check RIVETR_URL.", permanent=True)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """What the network says, as a sentence; only network calls belong inside."""
        from http.client import HTTPException

        try:
            yield
        except (OSError, HTTPException) as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: Exception) -> Unreachable:
        import ssl

        if isinstance(error, ConnectionRefusedError):
            return Unreachable(f"Nothing answers at {self.url}: start it ('rivetr up'), or set RIVETR_URL.")
        if isinstance(error, socket.gaierror):
            return Unreachable(f"The host {self._parts.hostname} cannot be found: check RIVETR_URL and your DNS.")
        if isinstance(error, ssl.SSLCertVerificationError):
            mend = "set RIVETR_URL to the name in it, or SSL_CERT_FILE to the authority that signed it"
            why = f"is not trusted ({error.verify_message}): {mend}."
            return Unreachable(f"The certificate of {self.url} {why}", permanent=True)
        if isinstance(error, TimeoutError):
            return Unreachable(f"{self.url} did not answer in time: is it busy, or behind a firewall?")
        return Unreachable(f"The connection to {self.url} broke ({safe(str(error)) or type(error).__name__}).")


def _target(path: tuple[str, ...], query: Mapping[str, object]) -> str:
    for part in path:
        # Neither names anything, and a server would take the path for another one.
        if part in ("", ".", ".."):
            raise Invalid({"name": f"'{part}' is no name"})
    target = "/api/" + "/".join(quote(part, safe="") for part in path)
    return f"{target}?{urlencode(query)}" if query else target
