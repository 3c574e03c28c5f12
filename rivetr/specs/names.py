"""Names and paths that reach an engine, a proxy or a file system: one rule for each, used by all specs."""

import ipaddress
import re
import unicodedata
from pathlib import PurePosixPath

APP_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
ENV_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
# One string of an environment may not be longer (MAX_ARG_STRLEN, execve(2)).
MAX_ENV_BYTES = 128 * 1024 - 1


def app_name(text: str) -> str:
    """A DNS label (RFC 1123). Raises `ValueError` with a sentence."""
    if not APP_NAME.fullmatch(text):
        raise ValueError("must be a DNS label: 1 to 63 of a-z, 0-9 and '-', starting and ending with a letter or digit")
    return text


def host_name(text: str) -> str:
    """A full host name in lower case (RFC 1123; RFC 5890 for `xn--`). Raises `ValueError` with a sentence."""
    host = text.lower()
    labels = host.split(".")
    if len(host) > 253 or len(labels) < 2 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("must be a host name such as app.example.com, without scheme, port or path")
    if labels[-1].isdigit() or _is_address(host):
        raise ValueError("must be a host name, not an IP address")
    for label in labels:
        if label.startswith("xn--"):
            _check_a_label(label)
    return host


def _check_a_label(label: str) -> None:
    try:
        if label.encode("ascii").decode("idna").isascii():
            raise UnicodeError
    except UnicodeError:
        raise ValueError(f"has the label '{label}', which is no valid international name") from None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def has_control_characters(text: str) -> bool:
    """Whether any character is a control or a line separator."""
    return any(unicodedata.category(c) in ("Cc", "Zl", "Zp") for c in text)


def relative_path(text: str) -> str:
    """A path inside a checkout. Raises `ValueError` with a sentence."""
    path = PurePosixPath(text)
    if not text or len(text) > 255 or has_control_characters(text) or "\\" in text:
        raise ValueError("must be a path of at most 255 characters")
    if path.is_absolute() or ".." in path.parts or text.startswith("-"):
        raise ValueError("must be a path inside the repository, without '..' and not starting with '-'")
    return str(path)


def url_path(text: str) -> str:
    """The path (and query) of a request to a container. Raises `ValueError` with a sentence."""
    if not text.startswith("/") or text.startswith("//") or len(text) > 1024:
        raise ValueError("must be a path that starts with one '/', such as /health")
    if has_control_characters(text) or not text.isascii() or any(c in text for c in " \\#"):
        raise ValueError("must be plain ASCII without spaces, '\\' or '#' (percent-encode them)")
    return text


def path_prefix(text: str) -> str:
    """The path prefix of a route, without a trailing '/' unless it is all. Raises `ValueError`."""
    path = url_path(text)
    if "?" in path or "/../" in f"{path}/" or "/./" in f"{path}/":
        raise ValueError("must be a plain path such as / or /api")
    return path.rstrip("/") or "/"


def address(text: str) -> str:
    """A backend as `host:port`, `[IPv6]:port` included. Raises `ValueError` with a sentence."""
    host, separator, port = text.rpartition(":")
    if not separator or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise ValueError("must be host:port, such as 127.0.0.1:3000")
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        if host != "localhost":
            host_name(host)
    return text
