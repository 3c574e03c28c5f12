"""Runs many raw requests through one proxy at once, each with a host and a recording backend of its own."""

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from proxy import contract
from tests.proxy import strict
from tests.proxy.process import Proxy
from tests.proxy.recorder import Record, Recorders, converse

# Whoever stops in the middle of a request is let go soon, so that no case takes long.
SHORT = ("--header-timeout", "1", "--idle-timeout", "2", "--body-timeout", "1", "--first-byte-timeout", "5")
CORPORA = Path(__file__).parent / "corpora"
NAME = b"case.test"
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)")
_REPEAT = re.compile(rb"\{\{(.+?)\*([0-9]+)\}\}", re.DOTALL)
_LETTERS = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}


@dataclass(frozen=True, slots=True)
class Case:
    """Bytes a client sends to `case.test`."""

    name: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a case led to: the bytes that were answered, and what its backend was sent."""

    case: Case
    raw: bytes
    received: bytes
    record: Record

    @property
    def statuses(self) -> list[int]:
        methods = [request.method for request in self.asked]
        return [response.status for response in strict.responses(self.received, methods)[0]]

    @property
    def asked(self) -> list[strict.Request]:
        """What the client asked for, by the narrowest reading."""
        return strict.requests(self.raw, of_client=True)[0]

    @property
    def is_refused(self) -> bool:
        """Whether no backend saw a whole request, and the client an error or the end of the connection."""
        is_answered = re.fullmatch(rb"HTTP/1\.1 [45][0-9][0-9] .*", self.received.partition(b"\r\n")[0])
        return not self.record.requests and (not self.received or is_answered is not None)

    @property
    def is_served(self) -> bool:
        """Whether the backend saw exactly what was asked, and the client its answers."""
        same = [r.core for r in self.record.requests] == [r.core for r in self.asked]
        return same and self.statuses == [200] * len(self.asked)

    def __str__(self) -> str:
        return f"{self.case.name}: {self.raw[:200]!r} gave {self.received[:80]!r}, passed on {self.record.requests}"


def read_corpus(file: Path) -> list[Case]:
    """The cases of a file of ours; its first lines tell its form."""
    cases, template = [], b""
    for line in file.read_bytes().splitlines():
        if line.startswith(b"@ "):
            template = line[2:]
        elif line and not line.startswith(b"#"):
            name, _, rest = line.partition(b" | ")
            content, _, why = rest.rpartition(b" |")
            assert why.strip(), f"{name!r} does not say why"
            assert template.count(b"<>") == 1, template
            cases.append(Case(name.decode(), _unescape(template.replace(b"<>", content))))
    assert len({case.name for case in cases}) == len(cases), "two cases have the same name"
    return cases


def _unescape(text: bytes) -> bytes:
    def letter(match: re.Match[bytes]) -> bytes:
        found = match[1]
        return bytes.fromhex(found[1:].decode()) if found.startswith(b"x") else _LETTERS[found]

    return _REPEAT.sub(lambda match: match[1] * int(match[2]), _ESCAPE.sub(letter, text))


def run(proxy: Proxy, recorders: Recorders, cases: Sequence[Case]) -> list[Outcome]:
    """Send each case on a connection of its own to a host of its own."""
    names = [b"c%03x.test" % number for number in range(len(cases))]
    assert all(len(name) == len(NAME) for name in names), "another length would change the meaning of lengths"
    backends = [recorders.add() for _ in cases]
    routes = [_route(name, address) for name, (address, _) in zip(names, backends, strict=True)]
    proxy.publish_all(routes)
    raws = [
        case.raw.replace(NAME, name).replace(NAME.upper(), name.upper())
        for case, name in zip(cases, names, strict=True)
    ]
    with ThreadPoolExecutor(24) as pool:
        received = list(pool.map(lambda raw: converse(proxy.port, raw), raws))
    return list(_outcomes(cases, raws, received, [record for _, record in backends]))


def _outcomes(
    cases: Sequence[Case], raws: list[bytes], received: list[bytes], records: list[Record]
) -> Iterator[Outcome]:
    for case, raw, answer, record in zip(cases, raws, received, records, strict=True):
        yield Outcome(case, raw, answer, record)


def _route(name: bytes, address: str) -> contract.Route:
    return contract.Route(name.decode(), "/", (contract.Backend(address),))
