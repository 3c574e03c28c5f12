"""The three ports: free, held by Rivetr itself, or taken, and then by whom."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from rivetr import config
from rivetr.cli.checks.finding import Finding, ok, problem, warning

_PORTS = ("api_port", "proxy_port", "proxy_https_port")
# net/tcp_states.h: TCP_LISTEN, as proc(5) writes it.
_LISTENING = "0A"


def ports(settings: config.Settings) -> Iterator[Finding]:
    """One finding for each port."""
    for key in _PORTS:
        port = getattr(settings.server, key)
        reason = _why_not(settings.server.host, port)
        if reason is None:
            yield ok("ports", f"Port {port} (server.{key}) is free.")
            continue
        holders = _holders(port) if reason == errno.EADDRINUSE else {}
        if any(_is_rivetr(command) and _uses(pid, settings.data_dir) for pid, command in holders.items()):
            yield ok("ports", f"Port {port} (server.{key}) is held by this instance.")
        else:
            yield _taken(settings, key, port, _sentence(port, reason, holders))


def _taken(settings: config.Settings, key: str, port: int, message: str) -> Finding:
    if f"server.{key}" in settings.explicit:
        return problem("ports", message, f"Free port {port}, or change server.{key}.")
    return warning("ports", message, f"'rivetr up' takes another one; free port {port} or set server.{key} to choose.")


def _sentence(port: int, reason: int, holders: dict[int, list[str]]) -> str:
    if reason == errno.EACCES:
        return f"Port {port} may only be used by root."
    if reason != errno.EADDRINUSE:
        return f"Port {port} cannot be used ({errno.errorcode.get(reason, reason)})."
    for pid, command in holders.items():
        return f"Port {port} is taken by {_name(command)} (process {pid})."
    return f"Port {port} is taken by another program."


def _why_not(host: str, port: int) -> int | None:
    """The errno that listening fails with, None when it works."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            return error.errno or errno.EINVAL
    return None


def _holders(port: int) -> dict[int, list[str]]:
    """Process id → command line of those who listen at `port`, as far as this user may see (proc(5))."""
    links = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and links.intersection(_open_files(folder)):
            # It may have ended in the meantime.
            with suppress(OSError):
                command = (folder / "cmdline").read_bytes().decode("utf-8", "replace")
                found[int(folder.name)] = command.rstrip("\0").split("\0")
    return found


def _open_files(process: Path) -> Iterator[str]:
    """What a process has open, by its folder in /proc; nothing when it ended or is another user's."""
    with suppress(OSError):
        for link in (process / "fd").iterdir():
            with suppress(OSError):
                yield str(link.readlink())


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                columns = line.split()
                if columns[3] == _LISTENING and int(columns[1].rpartition(":")[2], 16) == port:
                    yield columns[9]


def _is_rivetr(command: list[str]) -> bool:
    """Whether a command line is `rivetr …`, `python -m rivetr …`, `python -m proxy …` or `gunicorn app:app`."""
    names = [Path(part).name for part in command[:6]]
    is_module = any(pair in (("-m", "rivetr"), ("-m", "proxy")) for pair in pairwise(command))
    return is_module or "rivetr" in names[:2] or ("gunicorn" in names[:2] and "app:app" in command)


def _name(command: list[str]) -> str:
    return "another instance of Rivetr" if _is_rivetr(command) else Path(command[0]).name


def _uses(pid: int, data_dir: Path) -> bool:
    """Whether the process, or another of its group (what 'rivetr up' started), has a file of the data folder open."""
    inside = f"{data_dir.resolve()}/"
    group = _group(pid)
    others = [folder for folder in Path("/proc").iterdir() if folder.name.isdigit()]
    return any(
        path.startswith(inside)
        for folder in others
        if _group(int(folder.name)) == group
        for path in _open_files(folder)
    )


def _group(pid: int) -> int:
    """The process group of `pid`, or one that nobody has when it ended."""
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return -pid
