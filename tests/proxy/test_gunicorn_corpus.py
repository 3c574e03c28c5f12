"""gunicorn's own request files through the proxy: valid ones are served, invalid ones refused (R20)."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.proxy import strict
from tests.proxy.process import Proxy, running
from tests.proxy.recorder import Record, Recorders, converse
from tests.proxy.trials import CORPORA, SHORT

FILES = CORPORA / "gunicorn"
# What gunicorn takes and a proxy should not.
REFUSED = {
    "valid/002": "its Host is 0.0.0.0=5000, which is no name",
    "valid/003": "its Host is 0.0.0.0=5000, which is no name",
    "valid/005": "a fragment in the target",
    "valid/025": "gzip before chunked: backends differ in what they do with it",
    "valid/025_line": "gzip before chunked: backends differ in what they do with it",
    "valid/028": "gunicorn was told to strip spaces before a colon",
    "valid/029": "identity before chunked: the coding was withdrawn, backends differ",
    "valid/030": "identity before chunked: the coding was withdrawn, backends differ",
    "valid/099": "its body is shorter than it says",
    "valid/compat_obs_fold": "gunicorn was told to take folded lines",
    "valid/compat_obs_fold_huge": "gunicorn was told to take folded lines",
    "valid/pp_01": "a PROXY line, and we were not told to expect one",
    "valid/pp_02": "a PROXY line, and we were not told to expect one",
    "valid/pp_04": "a PROXY header, and we were not told to expect one",
    "valid/pp_05": "a PROXY header, and we were not told to expect one",
    "valid/rfc9112_smuggle_gzip_chunked_01": "gzip before chunked: backends differ in what they do with it",
    "valid/rfc9112_smuggle_te_identity_chunked_01": "identity before chunked: the coding was withdrawn",
    "valid/rfc9112_target_absolute_userinfo_01": "a user in the authority, which RFC 9110, 4.2.4 calls an error",
    "valid/rfc9112_target_authority_connect_01": "CONNECT: we open no tunnels",
    "valid/rfc9112_target_authority_ipv6_01": "CONNECT: we open no tunnels",
}
# What gunicorn refuses and a proxy should not, or need not.
SERVED = {
    "invalid/006": "a target of 4 KiB; our limit is 16",
    "invalid/007": "a field of 8 KiB; our limit is 32 for all",
    "invalid/008": "a field of 12 KiB; our limit is 32 for all",
    "invalid/009": "101 fields; our limit is 200",
    "invalid/010": "gunicorn was given a limit of 10 bytes a field",
    "invalid/017": "a field of 8 KiB; our limit is 32 for all",
    "invalid/limit_header_default_01": "a field of 8 KiB; our limit is 32 for all",
    "invalid/019": "fields that contradict each other, from no trusted peer: we replace them",
    "invalid/040": "gunicorn was told to refuse underscores",
    "invalid/041": "two Content-Type fields: nothing about framing or routing",
    "invalid/chunked_07": "gunicorn was told to refuse underscores",
    "invalid/rfc9112_leading_crlf_02": "two empty lines before a request; RFC 9112, 2.2 has us skip one at least",
    "invalid/003c": "methods are any token",
}
# A server may refuse these or not; both are safe.
EITHER = {
    "valid/013": "chunk extensions: refused, or dropped on the way",
    "valid/rfc9112_chunked_ext_quoted_01": "chunk extensions: refused, or dropped on the way",
    "invalid/chunked_09": "a space after the chunk's size, which RFC 9112, 7.1.1 calls bad white space",
    "invalid/rfc9110_trailer_forbidden_cl_01": "trailers do not reach the backend",
    "invalid/rfc9110_trailer_forbidden_host_01": "trailers do not reach the backend",
    "invalid/rfc9110_trailer_forbidden_te_01": "trailers do not reach the backend",
}


def _names() -> list[str]:
    return sorted(f"{file.parent.name}/{file.stem}" for file in FILES.glob("*/*.http"))


def _read(name: str) -> bytes:
    """A file's request; with a Host when it has none, which alone would be reason to refuse it."""
    raw = (FILES / f"{name}.http").read_bytes().replace(b"\n", b"")
    for escape, meant in ((rb"\r\n", b"\r\n"), (rb"\0", b"\0"), (rb"\n", b"\n"), (rb"\t", b"\t")):
        raw = raw.replace(escape, meant)
    raw = re.sub(rb"\\x([0-9a-fA-F]{2})", lambda match: bytes.fromhex(match[1].decode()), raw)
    if re.search(rb"^host:", raw, re.IGNORECASE | re.MULTILINE):
        return raw
    return re.sub(rb"( HTTP/1\.[01]\r\n)", rb"\1Host: gunicorn.test\r\n", raw)


class Outcomes:
    """All files sent at once to a proxy that has one backend for whatever host."""

    def __init__(self, proxy: Proxy, record: Record) -> None:
        self.record = record
        names = _names()
        self.raw = {name: _read(name) for name in names}
        with ThreadPoolExecutor(24) as pool:
            received = pool.map(lambda name: converse(proxy.port, self.raw[name]), names)
            self.received = dict(zip(names, received, strict=True))

    def served(self, name: str) -> int:
        """How many of a file's requests a backend answered."""
        return self.received[name].count(b"X-Recorded: yes")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcomes]:
    recorders = Recorders()
    with running(tmp_path_factory.mktemp("gunicorn"), *SHORT) as proxy:
        address, record = recorders.add()
        proxy.route("*", address)
        yield Outcomes(proxy, record)
    recorders.close()


def test_r20_the_corpus_is_whole() -> None:
    assert len(_names()) == 143
    assert set(REFUSED) | set(SERVED) | set(EITHER) <= set(_names())


def test_r20_gunicorn_s_valid_requests_are_served(outcomes: Outcomes) -> None:
    valid = [name for name in _names() if name.startswith("valid/") and name not in REFUSED and name not in EITHER]
    assert [(name, outcomes.received[name][:60]) for name in valid if not outcomes.served(name)] == []
    assert [name for name in REFUSED if outcomes.served(name)] == []


def test_r20_gunicorn_s_invalid_requests_are_refused(outcomes: Outcomes) -> None:
    invalid = [name for name in _names() if name.startswith("invalid/") and name not in SERVED and name not in EITHER]
    # A second request in the file may be good; the first must have been answered with an error, or not at all.
    passed = [name for name in invalid if outcomes.served(name)]
    assert [(name, outcomes.raw[name][:200]) for name in passed] == []
    assert [(name, outcomes.received[name][:60]) for name in SERVED if not outcomes.served(name)] == []


def test_r20_nothing_unsafe_and_nothing_unasked_was_passed_on(outcomes: Outcomes) -> None:
    assert outcomes.record.unsafe() == []
    asked = {r.core for raw in outcomes.raw.values() for r in strict.requests(raw, of_client=True)[0]}
    assert [request for request in outcomes.record.requests if request.core not in asked] == []
    assert len(outcomes.record.requests) == sum(outcomes.served(name) for name in _names())
