"""The folder an image is built from, as a stream of tar: never the whole of it in memory or on disk."""

import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

from docker.utils.build import exclude_paths

from rivetr.errors import BuildFailed

_PIECE = 256 * 1024
_LONGEST_DOCKERFILE = 1024 * 1024


def find_dockerfile(context: Path, name: str) -> str:
    """The Dockerfile's path relative to `context`. Raises `BuildFailed` unless it is a file inside it."""
    found = _inside(context, name)
    if found is None:
        raise BuildFailed(
            f"There is no Dockerfile {name} in the source, or it is no plain file inside it: "
            "add one, or set the app's Dockerfile path."
        )
    return found


def read_dockerfile(context: Path, dockerfile: str) -> str:
    """Its text, or the beginning of an absurdly long one; `dockerfile` is what `find_dockerfile` gave."""
    try:
        with (context / dockerfile).open(encoding="utf-8", errors="replace") as file:
            return file.read(_LONGEST_DOCKERFILE)
    except OSError as error:
        raise BuildFailed(f"{dockerfile} in the source cannot be read: {error.strerror}.") from error


def context_tar(context: Path, dockerfile: str) -> Iterator[bytes]:
    """Pieces of a tar of `context`, without what its `.dockerignore` leaves out; links stay links."""
    root = context.resolve()
    for name in sorted(exclude_paths(str(root), _ignored(root, dockerfile), dockerfile=dockerfile)):
        path = root / name
        try:
            member = _member(path, name)
            if member is None:
                continue
            yield member.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
            if member.isreg():
                yield from _content(path, member.size)
        except OSError as error:
            raise BuildFailed(f"{name} in the source cannot be read: {error.strerror}.") from error
    yield bytes(2 * tarfile.BLOCKSIZE)


def _inside(context: Path, name: str) -> str | None:
    root = context.resolve()
    path = (root / name).resolve()
    return str(path.relative_to(root)) if path.is_relative_to(root) and path.is_file() else None


def _ignored(root: Path, dockerfile: str) -> list[str]:
    # A Dockerfile may have a list of its own, which then counts alone.
    name = _inside(root, f"{dockerfile}.dockerignore") or _inside(root, ".dockerignore")
    if name is None:
        return []
    lines = (root / name).read_text("utf-8-sig", "replace").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _member(path: Path, name: str) -> tarfile.TarInfo | None:
    """The tar header for one path; None for sockets, pipes and devices."""
    found = path.lstat()
    member = tarfile.TarInfo(name)
    # Owners stay 0: whose checkout it was must not change the build's cache.
    member.mode = stat.S_IMODE(found.st_mode)
    member.mtime = int(found.st_mtime)
    if stat.S_ISREG(found.st_mode):
        member.size = found.st_size
    elif stat.S_ISDIR(found.st_mode):
        member.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(found.st_mode):
        member.type = tarfile.SYMTYPE
        member.linkname = os.readlink(path)
    else:
        return None
    return member


def _content(path: Path, size: int) -> Iterator[bytes]:
    left = size
    # O_NOFOLLOW: what was a file a moment ago must not have become a way out of the folder.
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        while left:
            piece = file.read(min(left, _PIECE))
            if not piece:
                raise BuildFailed(f"{path.name} in the source became shorter while it was read.")
            left -= len(piece)
            yield piece
    yield bytes(-size % tarfile.BLOCKSIZE)
