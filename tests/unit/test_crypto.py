"""Sealing, hashing and comparing."""

import os
from pathlib import Path

import pytest

from rivetr import crypto
from rivetr.errors import Misconfigured


@pytest.fixture(autouse=True)
def key() -> None:
    crypto.use_key(b"k" * 32)


def test_what_is_sealed_opens_with_the_same_key_and_context_only() -> None:
    sealed = crypto.seal("phrase", "env:1:KEY")
    assert "phrase" not in sealed
    assert crypto.unseal(sealed, "env:1:KEY") == "phrase"
    assert crypto.seal("phrase", "env:1:KEY") != sealed
    with pytest.raises(Misconfigured):
        crypto.unseal(sealed, "env:2:KEY")
    crypto.use_key(b"x" * 32)
    with pytest.raises(crypto.WrongKey):
        crypto.unseal(sealed, "env:1:KEY")


@pytest.mark.parametrize("broken", ["", "AA==", "not base64!", "A" * 80])
def test_what_was_never_sealed_is_refused(broken: str) -> None:
    with pytest.raises(Misconfigured):
        crypto.unseal(broken, "env:1:KEY")


def test_a_key_file_is_made_once_and_for_the_owner_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(crypto.KEY_VARIABLE, raising=False)
    first = crypto.load_key(tmp_path)
    assert len(first) == 32
    assert crypto.load_key(tmp_path) == first
    assert [file.name for file in tmp_path.iterdir()] == ["secret.key"]
    assert os.stat(tmp_path / "secret.key").st_mode & 0o777 == 0o600
    (tmp_path / "secret.key").write_bytes(b"short")
    with pytest.raises(Misconfigured):
        crypto.load_key(tmp_path)


def test_a_key_may_come_from_the_environment_or_a_file_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(crypto.KEY_VARIABLE, "p" * 32)
    from_variable = crypto.load_key(tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / "phrase").write_text("p" * 32 + "\n")
    monkeypatch.setenv(f"{crypto.KEY_VARIABLE}_FILE", str(tmp_path / "phrase"))
    assert crypto.load_key(tmp_path) == from_variable
    monkeypatch.setenv(f"{crypto.KEY_VARIABLE}_FILE", str(tmp_path / "none"))
    with pytest.raises(Misconfigured):
        crypto.load_key(tmp_path)


def test_texts_are_compared_whatever_they_hold() -> None:
    assert crypto.same("gemäß", "gemäß")
    assert not crypto.same("a", "b")
    assert not crypto.same("a", "aa")
