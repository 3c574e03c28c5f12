"""Where a source may be and what of it may be asked for: pure syntax, the same for every door."""

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rivetr.specs.names import has_control_characters

MAX_URL, MAX_REF = 2048, 255
_SCP = re.compile(r"(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]*)@)(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*):(?P<path>[^:].*)")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_ADDRESS_V6 = re.compile(r"[0-9A-Fa-f:.]+")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_REMOTE_SCHEMES = ("https", "http", "ssh", "git")
DEFAULT_PORTS = {"https": 443, "http": 80, "ssh": 22, "git": 9418}


def scheme_of(url: str) -> str:
    """`ssh` also for the scp form `git@host:path`."""
    return "ssh" if _SCP.fullmatch(url) and "://" not in url else urlsplit(url).scheme.lower()


def check_url(url: str, schemes: Sequence[str], local_root: Path | None) -> str:
    """A repository's address that Git may be given. Raises `ValueError` with a sentence.

    `file://` is allowed when `schemes` says so, and always below `local_root`, where the
    repositories lie that Rivetr made itself.
    """
    if not url or len(url) > MAX_URL:
        raise ValueError(f"must have 1 to {MAX_URL} characters")
    decoded = unquote(url)
    is_helper = "::" in url.split("/", maxsplit=1)[0]
    if has_control_characters(decoded) or any(c.isspace() for c in url) or url.startswith("-") or is_helper:
        raise ValueError("must be a plain URL such as https://github.com/you/app.git")
    if "://" not in url:
        _check_scp(url, schemes)
        return url
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("is no valid URL") from None
    if parts.scheme == "file":
        _check_file(unquote(parts.path), parts.netloc, schemes, local_root)
        return url
    _check_scheme(parts.scheme, schemes)
    host = parts.hostname or ""
    if not (_HOST.fullmatch(host) or (":" in host and _ADDRESS_V6.fullmatch(host))) or port == 0:
        raise ValueError("must name a host such as github.com")
    if parts.password is not None or (parts.username is not None and parts.scheme in ("https", "http")):
        raise ValueError("must not hold credentials: use an ssh address with a deploy key instead")
    if parts.username is not None and not _USER.fullmatch(unquote(parts.username)):
        raise ValueError("has a user name that Git could take for an option")
    if not parts.path.strip("/") or unquote(parts.path).startswith("/-") or parts.query or parts.fragment:
        raise ValueError("must end in the repository's path, without '?' or '#'")
    return url


def _check_scp(url: str, schemes: Sequence[str]) -> None:
    match = _SCP.fullmatch(url)
    if not match or match["path"].startswith("-"):
        raise ValueError("must start with https:// or ssh://, or look like git@host:path")
    _check_scheme("ssh", schemes)


def _check_scheme(scheme: str, schemes: Sequence[str]) -> None:
    if scheme not in _REMOTE_SCHEMES or scheme not in schemes:
        raise ValueError(f"must use one of {', '.join(schemes)} (the setting git.schemes), not '{scheme}'")


def _check_file(path: str, netloc: str, schemes: Sequence[str], local_root: Path | None) -> None:
    if netloc or not path.startswith("/"):
        raise ValueError("must be file:// and an absolute path")
    is_ours = local_root is not None and Path(path).resolve().is_relative_to(local_root.resolve())
    if "file" not in schemes and not is_ours:
        _check_scheme("file", schemes)


def check_ref(ref: str) -> str:
    """A branch, tag or commit by the rules of git-check-ref-format(1). Raises `ValueError` with a sentence."""
    complaint = "must be a branch, tag or commit such as main or v1.2"
    if not ref or len(ref) > MAX_REF or ref.startswith(("-", "/")) or ref.endswith(("/", ".")) or ref == "@":
        raise ValueError(complaint)
    if any(c in ref for c in " ~^:?*[\\") or "\x7f" in ref or has_control_characters(ref):
        raise ValueError(complaint)
    if ".." in ref or "@{" in ref or "//" in ref:
        raise ValueError(complaint)
    if any(part.startswith(".") or part.endswith(".lock") for part in ref.split("/")):
        raise ValueError(complaint)
    return ref


def repository_key(url: str) -> str:
    """`host/path` in lower case, the same for every address of one repository (ssh, https, scp form)."""
    match = _SCP.fullmatch(url) if "://" not in url else None
    if match:
        host, port, path = match["host"], None, match["path"]
        scheme = "ssh"
    else:
        parts = urlsplit(url)
        scheme, host, path = parts.scheme.lower(), parts.hostname or "", parts.path
        try:
            port = parts.port
        except ValueError:
            port = None
    where = host.lower() if port in (None, DEFAULT_PORTS.get(scheme)) else f"{host.lower()}:{port}"
    return f"{where}/{path.strip('/').removesuffix('.git').rstrip('/').lower()}"
