"""Load of small requests, made by wrk, and what it saw."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.heads import UNIQUE
from bench.programs import program

CLIENTS = 32
MARK = "@result "


@dataclass(frozen=True, slots=True)
class Load:
    """What the clients saw. Times in milliseconds; `errors` counts by kind, only kinds that happened."""

    requests: int
    bytes: int
    seconds: float
    p50: float
    p99: float
    errors: Mapping[str, int]


# The heads are sent in turn. wrk itself knows no time from request to request, so a table costs it nothing.
_SCRIPT = """
local heads = { %s }
local turn, serial = 0, 0
function request()
    turn = turn %% #heads + 1
    %s
end
"""
_SAME = "return heads[turn]"
_UNIQUE = "serial = serial + 1\n    return heads[turn][1] .. string.format('%08x', serial) .. heads[turn][2]"
_REPORT = """
function done(summary, latency, rates)
    local e = summary.errors
    io.write(string.format(
        '\\n%s{"requests":%%d,"bytes":%%d,"microseconds":%%d,"p50":%%f,"p99":%%f,' ..
        '"connect":%%d,"read":%%d,"write":%%d,"status":%%d,"timeout":%%d}\\n',
        summary.requests, summary.bytes, summary.duration, latency:percentile(50), latency:percentile(99),
        e.connect, e.read, e.write, e.status, e.timeout))
end
"""


def wrk(port: int, heads: Sequence[str], seconds: int, folder: Path, clients: int = CLIENTS) -> Load:
    """Keep `clients` connections busy with these heads in turn, one request at a time on each."""
    script = folder / "wrk.lua"
    script.write_text(_script(heads))
    argv = [
        *(program("wrk"), "--threads", "1", "--connections", str(clients), "--duration", f"{seconds}s"),
        *("--timeout", "10s", "--script", str(script), f"http://127.0.0.1:{port}/"),
    ]
    done = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=seconds + 60)
    line = next(line for line in done.stdout.splitlines() if line.startswith(MARK))
    said = json.loads(line.removeprefix(MARK))
    kinds = ("connect", "read", "write", "status", "timeout")
    return Load(
        requests=said["requests"],
        bytes=said["bytes"],
        seconds=said["microseconds"] / 1e6,
        p50=said["p50"] / 1e3,
        p99=said["p99"] / 1e3,
        errors={kind: said[kind] for kind in kinds if said[kind]},
    )


def _script(heads: Sequence[str]) -> str:
    if any(UNIQUE in head for head in heads):
        entries = [f"{{ {', '.join(_lua(part) for part in head.split(UNIQUE))} }}" for head in heads]
        body = _UNIQUE
    else:
        entries, body = [_lua(head) for head in heads], _SAME
    return _SCRIPT % (",\n".join(entries), body) + _REPORT % MARK


def _lua(text: str) -> str:
    # JSON's escapes of plain ASCII are Lua's too.
    return json.dumps(text)
