"""`token create` and `user create` on a data folder of their own."""

import json
import os
import pty
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.cli.conftest import Rivetr

PASSWORD = "correct horse battery"


def rows(data_dir: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(data_dir / "rivetr.db")) as database:
        return database.execute(query).fetchall()


def test_token_create_prints_the_secret_alone_and_keeps_only_its_hash(local: Rivetr, data_dir: Path) -> None:
    done = local("token", "create", "ci", "--scope", "read", "--scope", "deploy", "--expires-in", "30")
    assert done.returncode == 0
    secret = done.stdout.removesuffix("\n")
    assert secret.startswith("rvt_") and "\n" not in secret and secret not in done.stderr
    assert "'ci' (read, deploy, until " in done.stderr
    [(name, scopes, expires_at)] = rows(data_dir, "SELECT name, scopes, expires_at FROM api_tokens")
    assert (name, json.loads(scopes)) == ("ci", ["read", "deploy"])
    assert expires_at > time.strftime("%Y-%m-%d", time.gmtime(time.time() + 29 * 86400))
    assert secret.encode() not in b"".join(file.read_bytes() for file in data_dir.glob("rivetr.db*"))


def test_token_create_gives_json_and_only_reads_unless_told(local: Rivetr) -> None:
    made = json.loads(local("token", "create", "ci", "--json").stdout)
    assert (made["name"], made["scopes"], made["expires_at"]) == ("ci", ["read"], None)
    assert made["token"].startswith("rvt_")


def test_token_create_refuses_what_is_wrong(local: Rivetr) -> None:
    assert "name: must have 1 to 100 characters" in local("token", "create", "").stderr
    done = local("token", "create", "x", "--scope", "everything")
    assert done.returncode == 2 and "'everything'" in done.stderr


def test_user_create_takes_the_password_from_standard_input(local: Rivetr, data_dir: Path) -> None:
    done = local("user", "create", "You@Example.com", "--password-stdin", stdin=f"{PASSWORD}\n")
    assert (done.returncode, done.stdout) == (0, "Made an account for you@example.com.\n")
    [(hashed,)] = rows(data_dir, "SELECT password_hash FROM users")
    from argon2 import PasswordHasher

    assert PasswordHasher().verify(hashed, PASSWORD)
    done = local("user", "create", "you@example.com", "--password-stdin", stdin=PASSWORD)
    assert (done.returncode, done.stderr) == (1, "rivetr: you@example.com has an account already.\n")


def test_user_create_refuses_a_weak_password_and_no_terminal(local: Rivetr, data_dir: Path) -> None:
    done = local("user", "create", "you@example.com", "--password-stdin", stdin="short\n")
    assert done.returncode == 1 and "password: must have 10 to 256 characters" in done.stderr
    done = local("user", "create", "you@example.com", stdin=f"{PASSWORD}\n{PASSWORD}\n")
    assert done.returncode == 2 and "--password-stdin" in done.stderr
    assert not data_dir.exists()


def test_user_create_asks_twice_and_does_not_show_it(environment: dict[str, str], tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "rivetr", "user", "create", "you@example.com"],
        cwd=tmp_path,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""
    for prompt in (b"Password: ", b"Repeat for confirmation: "):
        while not shown.endswith(prompt):
            shown += os.read(ours, 1000)
        os.write(ours, f"{PASSWORD}\n".encode())
    while b"Made an account for you@example.com." not in shown:
        shown += os.read(ours, 1000)
    assert process.wait(timeout=60) == 0
    os.close(ours)
    assert PASSWORD.encode() not in shown
