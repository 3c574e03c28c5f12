"""`deploy`, `rollback` and `logs` against streams that break, end too early, or never come."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rivetr.cli import follow
from rivetr.cli.client import Client, Refused, Unreachable
from tests.cli.conftest import Rivetr
from tests.cli.fake_instance import TOKEN, FakeInstance, Reply, events, items, refusal
from tests.instance import wait_for

STREAM = "GET /api/deployments/d1/logs/stream"
LINES = [
    {"id": 1, "stage": "clone", "line": "Fetching."},
    {"id": 2, "stage": "build", "line": "Step 1"},
    {"id": 5, "stage": "build", "line": "Step 2 \x1b[2Jdone"},
]
DEPLOYMENT = {"id": "d1", "app_id": "a1", "status": "pending", "stages": []}


@pytest.fixture
def app(instance: FakeInstance) -> FakeInstance:
    """An instance with the app "web", whose deployment "d1" runs in the end."""
    instance.on("POST /api/apps/web/deploy", Reply(DEPLOYMENT, 202))
    instance.on("GET /api/apps/web/status", Reply({"state": "running", "url": "http://web.localhost"}))
    ends(instance, status="running", stages=[{"name": "build", "seconds": 2.04}])
    return instance


def ends(instance: FakeInstance, **fields: Any) -> None:
    instance.on("GET /api/deployments/d1", Reply({**DEPLOYMENT, **fields}))
    instance.on(STREAM, events(*LINES, {"status": fields["status"]}))


def test_without_wait_it_only_asks(app: FakeInstance, remote: Rivetr) -> None:
    done = remote("deploy", "web", "--ref", "v1.2")
    assert (done.returncode, done.stdout) == (0, "Deployment d1 of web has been asked for.\n")
    assert [(asked.method, asked.body) for asked in app.asked] == [("POST", {"ref": "v1.2"})]


def test_wait_shows_stages_and_lines_until_it_runs(app: FakeInstance, remote: Rivetr) -> None:
    done = remote("deploy", "web", "--wait")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "Deployment d1 of web has been asked for.",
        "==> clone",
        "    Fetching.",
        "==> build",
        "    Step 1",
        "    Step 2 done",
        "==> build 2.0 s",
        "==> web is running at http://web.localhost",
    ]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"status": "failed", "failed_stage": "build", "error": "Step 2 went wrong."},
            "The deployment failed at build: Step 2 went wrong.",
        ),
        ({"status": "cancelled", "error": "By hand."}, "The deployment was cancelled. By hand."),
        ({"status": "superseded"}, "The deployment did not run: a later one took its place."),
        ({"status": "stopped"}, "The deployment ran and was replaced by a later one."),
    ],
)
def test_any_other_end_is_status_1_and_a_sentence(
    app: FakeInstance, remote: Rivetr, fields: dict[str, Any], sentence: str
) -> None:
    ends(app, **fields)
    done = remote("deploy", "web", "--wait")
    assert (done.returncode, done.stderr) == (1, f"rivetr: {sentence}\n")


def test_json_is_one_object_a_line(app: FakeInstance, remote: Rivetr) -> None:
    done = remote("deploy", "web", "--wait", "--json")
    first, *lines, last = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, first, lines, last["status"]) == (0, DEPLOYMENT, LINES, "running")
    assert "\x1b" not in done.stdout


def test_a_stream_that_breaks_or_ends_early_goes_on_without_repeating(app: FakeInstance, remote: Rivetr) -> None:
    app.on(
        STREAM,
        events(LINES[0], breaks=True),
        refusal(503, "busy", "The database is busy."),
        events(LINES[0], LINES[1]),
        events(*LINES, {"status": "running"}),
    )
    done = remote("deploy", "web", "--wait")
    assert done.returncode == 0
    shown = [line for line in done.stdout.splitlines() if line.startswith("    ")]
    assert shown == ["    Fetching.", "    Step 1", "    Step 2 done"]
    assert "broke" in done.stderr and "Trying again" in done.stderr
    assert app.targets().count(STREAM) == 4


def test_a_refusal_that_trying_again_cannot_mend_ends_at_once(app: FakeInstance, remote: Rivetr) -> None:
    app.on(STREAM, refusal(403, "forbidden", "This needs the scope 'read'."))
    done = remote("deploy", "web", "--wait")
    assert done.returncode == 1
    assert "This needs the scope 'read'." in done.stderr and "The deployment goes on" in done.stderr
    assert app.targets().count(STREAM) == 1


def test_patience_ends(app: FakeInstance) -> None:
    app.on(STREAM, refusal(503, "busy", "The database is busy."))
    with pytest.raises(Refused, match="database is busy"):
        list(follow.deployment(Client(app.url, TOKEN), "d1", patience=0.4))
    app.on(STREAM, events())
    with pytest.raises(Unreachable, match="ended again and again"):
        list(follow.deployment(Client(app.url, TOKEN), "d1", patience=0.4))
    assert app.targets().count(STREAM) >= 4


def test_ctrl_c_leaves_the_deployment_running_and_says_so(
    app: FakeInstance, environment: dict[str, str], tmp_path: Path
) -> None:
    app.on(STREAM, events(LINES[0]))
    # A job in the background of a shell inherits that Ctrl-C is ignored; a person's terminal does not.
    started = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import rivetr.cli as c; c.main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", started, "deploy", "web", "--wait"],
        cwd=tmp_path,
        env={**environment, "RIVETR_URL": app.url, "RIVETR_TOKEN": TOKEN},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: STREAM in app.targets(), what="the stream being asked for")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert said == "Not waiting any longer. The deployment goes on; 'rivetr status web' shows how it ends.\n"
    assert not any("cancel" in target for target in app.targets())


def served(id: str, status: str, image: str | None) -> dict[str, Any]:
    return {"id": id, "app_id": "a1", "status": status, "image": image, "commit_sha": f"{id}0123456789"}


def test_rollback_goes_to_the_release_before(app: FakeInstance, remote: Rivetr) -> None:
    app.on(
        "GET /api/apps/web/deployments?limit=200",
        items(
            served("d6", "failed", "i6"),
            served("d5", "running", "i5"),
            served("d4", "stopped", "i5"),
            served("d3", "cancelled", "i3"),
            served("d2", "stopped", "i2"),
        ),
    )
    app.on("POST /api/deployments/d2/rollback", Reply(DEPLOYMENT, 202))
    done = remote("rollback", "web", "--wait")
    assert done.returncode == 0
    assert done.stdout.startswith("Back to deployment d2 (d2012345).\nDeployment d1 of web has been asked for.\n")
    assert done.stdout.endswith("web is running at http://web.localhost\n")


def test_rollback_without_an_earlier_release_says_so(app: FakeInstance, remote: Rivetr) -> None:
    app.on("GET /api/apps/web/deployments?limit=200", items(served("d1", "running", "i1")))
    done = remote("rollback", "web")
    assert (done.returncode, done.stderr) == (1, "rivetr: There is no earlier release of web to bring back.\n")
    assert not any(target.startswith("POST") for target in app.targets())


def test_rollback_to_another_apps_deployment_is_refused(app: FakeInstance, remote: Rivetr) -> None:
    app.on("GET /api/deployments/d9", Reply({**served("d9", "stopped", "i9"), "app_id": "a2"}))
    app.on("GET /api/apps/web", Reply({"id": "a1", "name": "web"}))
    done = remote("rollback", "web", "d9")
    assert done.returncode == 1 and "web has no deployment 'd9'" in done.stderr
    assert not any(target.startswith("POST") for target in app.targets())


LAST_LINE, LOG = "GET /api/apps/web/logs?lines=1", "GET /api/apps/web/logs/stream"


def written(millisecond: int, line: str, container: str = "c1") -> dict[str, Any]:
    return {"time": f"2026-01-01T00:00:00.{millisecond:03}Z", "stream": "stdout", "line": line, "container": container}


def test_logs_prints_the_lines(app: FakeInstance, remote: Rivetr) -> None:
    app.on("GET /api/apps/web/logs?lines=3", Reply(text="one\n\n\x1b[31mthree\f\n"))
    done = remote("logs", "web", "--lines", "3")
    assert (done.returncode, done.stdout) == (0, "one\n\nthree\N{REPLACEMENT CHARACTER}\n")
    done = remote("logs", "web", "-n", "3", "--json")
    assert [json.loads(line)["line"] for line in done.stdout.splitlines()] == ["one", "", "\x1b[31mthree\f"]


def test_following_goes_on_over_breaks_and_new_containers_without_repeating(app: FakeInstance, remote: Rivetr) -> None:
    app.on(LAST_LINE, *[Reply(text="x\n")] * 3, refusal(409, "conflict", "web does not run, so it writes no log."))
    first = [written(1, "a"), written(2, "b"), written(2, "b")]
    app.on(
        LOG,
        events(*first, breaks=True),
        events(*first, written(2, "b"), written(3, "c")),
        events(*first[1:], written(2, "b"), written(3, "c"), written(1, "new", "c2")),
    )
    done = remote("logs", "web", "--follow")
    assert done.stdout.split() == ["a", "b", "b", "b", "c", "new"]
    assert done.returncode == 1 and "web does not run" in done.stderr


def test_a_reader_that_goes_away_ends_it_quietly(
    app: FakeInstance, environment: dict[str, str], tmp_path: Path
) -> None:
    app.on("GET /api/apps/web/logs", Reply(text="y" * 1000 + "\n" + "line\n" * 100_000))
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "rivetr", "logs", "web"],
        cwd=tmp_path,
        env={**environment, "RIVETR_URL": app.url, "RIVETR_TOKEN": TOKEN},
        stdout=writing,
        stderr=subprocess.PIPE,
    )
    os.close(writing)
    assert os.read(reading, 10) == b"y" * 10
    os.close(reading)
    _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (1, b"")
