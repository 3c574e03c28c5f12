"""One commit of a repository in a folder: GitPython runs Git with everything switched off that could run code."""

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from git import Git
from git.exc import GitCommandError

from rivetr import config
from rivetr.errors import CloneFailed
from rivetr.git.network import Server, locate
from rivetr.specs.git import check_ref, check_url, scheme_of

# Nothing of a repository or of this machine's Git settings may start a program or reach further.
_SAFE_CONFIG = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.sshCommand": "",
    "credential.helper": "",
    "http.followRedirects": "false",
    "protocol.allow": "never",
    "safe.directory": "*",
    "submodule.recurse": "false",
    "init.defaultBranch": "main",
}
Log = Callable[[str], None]

_SSH = "ssh -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o ConnectTimeout=10"
# What a child Git inherits: where programs and certificate authorities are, nothing of ours.
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "SSH_AUTH_SOCK")
_ABBREVIATED = re.compile(r"[0-9a-f]{7,39}")


@dataclass(frozen=True, slots=True)
class CloneRequest:
    """What to fetch (`ref`: branch, tag or commit) and where to put it (`folder`, made anew)."""

    url: str
    ref: str
    folder: Path
    settings: config.Git
    local_root: Path
    timeout: float


@dataclass(frozen=True, slots=True)
class Checkout:
    """A source at a commit; `.git` is gone from `path`."""

    path: Path
    commit_sha: str
    commit_message: str


def clone(request: CloneRequest, log: Log) -> Checkout:
    """Fetch with depth 1 and check out. Raises `CloneFailed`; the caller removes the folder then."""
    try:
        url = check_url(request.url, request.settings.schemes, request.local_root)
        ref = check_ref(request.ref)
    except ValueError as error:
        raise CloneFailed(f"The source cannot be fetched: its address or branch {error}.") from None
    server = locate(url, request.settings.allow_private_networks)
    shutil.rmtree(request.folder, ignore_errors=True)
    request.folder.mkdir(mode=0o700, parents=True)
    git = _Git(request, server)
    try:
        git.run("init", "--quiet")
        git.run("fetch", "--quiet", "--depth", "1", "--no-tags", "--no-recurse-submodules", "--", url, ref)
        git.run("checkout", "--quiet", "--detach", "FETCH_HEAD")
        sha, _, message = git.run("log", "-1", "--format=%H%x00%s", "FETCH_HEAD").partition("\0")
    except GitCommandError as error:
        raise CloneFailed(_reason(error, ref, request)) from None
    shutil.rmtree(request.folder / ".git")
    return Checkout(request.folder, sha, "".join(c for c in message if c.isprintable())[:200])


class _Git:
    """Git in one folder with one environment."""

    def __init__(self, request: CloneRequest, server: Server | None) -> None:
        self._git = Git(str(request.folder))
        self._timeout = request.timeout
        settings = {**_SAFE_CONFIG, f"protocol.{scheme_of(request.url)}.allow": "always"}
        if server and server.scheme in ("http", "https"):
            # The address that was checked is the one that is used, whatever DNS says a moment later.
            settings["http.curloptResolve"] = f"{server.host}:{server.port}:{server.address}"
        self._options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        self._environment = _environment(scheme_of(request.url), server)

    def run(self, *arguments: str) -> str:
        output = self._git.execute(
            ["git", *self._options, *arguments],
            env=self._environment,
            kill_after_timeout=self._timeout,
            with_extended_output=False,
        )
        return str(output)


def _environment(scheme: str, server: Server | None) -> dict[str, str]:
    # GitPython adds its dictionary to ours, so what must not be inherited is set to nothing.
    blanked = {name: "" for name in os.environ if name.startswith(("RIVETR_", "GIT_")) and name not in _KEPT_VARIABLES}
    pinned = f" -o HostName={server.address} -o HostKeyAlias={server.host}" if server and scheme == "ssh" else ""
    return {
        **blanked,
        "GIT_ALLOW_PROTOCOL": scheme,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_SSH_COMMAND": _SSH + pinned,
        "LC_ALL": "C",
    }


# What Git says (in lower case, any of the words) → what we say.
_REASONS = (
    (("no space left", "disk quota"), "The disk is full: free some space on the server and deploy again."),
    (
        ("couldn't find remote ref", "not our ref"),
        "There is no branch, tag or commit '{ref}' in the repository{hint}: check the app's branch.",
    ),
    (
        ("could not read username", "authentication failed", "permission denied"),
        "The Git server wants credentials: is the repository private, or the address mistyped?",
    ),
    (
        ("not found", "does not exist", "not appear to be a git repository"),
        "There is no repository at {url}: check the Git URL.",
    ),
    (
        ("timeout: the command", "timed out"),
        "Fetching took too long (more than {timeout:.0f} seconds) or the server does not answer.",
    ),
    (("redirect",), "The Git server redirects elsewhere: use the address that it redirects to."),
    (
        ("connection refused", "failed to connect", "could not resolve"),
        "The Git server cannot be reached: check the Git URL and whether the server is up.",
    ),
)


def _reason(error: GitCommandError, ref: str, request: CloneRequest) -> str:
    said = str(error.stderr or "").strip().removeprefix("stderr:").strip().strip("'").strip()
    hint = " (give the whole commit id, not the start of it)" if _ABBREVIATED.fullmatch(ref) else ""
    for words, sentence in _REASONS:
        if any(word in said.lower() for word in words):
            return sentence.format(ref=ref, hint=hint, url=request.url, timeout=request.timeout)
    last = said.splitlines()[-1] if said else "no reason given"
    return f"Git could not fetch the source: {last}"
