"""Who passes with a name and a password, and what tries cost."""

import base64
import hashlib
from typing import Any

import pytest

from proxy.policies import basic_auth
from proxy.policies.base import Answer, Asked, BadValue, Gate
from proxy.policies.passwords import Stored, Verifier, hash_password, parse
from tests.proxy.policies.asking import Clock, answer, asked, status

HASH = hash_password("pass:wörd")


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The passwords that went through scrypt."""
    found: list[bytes] = []
    matches = Stored.matches

    def counted(self: Stored, password: bytes) -> bool:
        found.append(password)
        return matches(self, password)

    monkeypatch.setattr(Stored, "matches", counted)
    return found


def _gate(verifier: Verifier | None = None, **users: str) -> Gate:
    policy = {"basic_auth": {"realm": "Staff", "users": users or {"ann": HASH}}}
    made = basic_auth.gate(policy, verifier or Verifier(clock=Clock()))
    assert made is not None
    return made


def _signed(name: str, password: str, peer: str = "192.0.2.1") -> Asked:
    return asked(peer=peer, authorization="Basic " + base64.b64encode(f"{name}:{password}".encode()).decode())


def _status(found: Answer | None) -> int:
    return found.status if found else 200


def test_the_right_password_passes() -> None:
    assert _gate()(_signed("ann", "pass:wörd")) is None


@pytest.mark.parametrize(
    ("name", "password"), [("ann", "x"), ("ann", ""), ("bob", "pass:wörd"), ("", ""), ("Ann", "pass:wörd")]
)
def test_a_wrong_name_or_password_does_not(name: str, password: str) -> None:
    assert _status(_gate()(_signed(name, password))) == 401


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Basic",
        "Basic ",
        "Basic !!!!",
        "Basic YW5u",
        "Basic YW5uOg",
        "Basic /////w==",
        "Basic YW5u OnBhc3M=",
        "Bearer abc",
        "Basic " + "A" * 100_000,
        "Basic " + base64.b64encode(b"ann:\0" * 3).decode(),
    ],
)
def test_what_are_no_credentials_gets_401(value: str) -> None:
    assert _status(_gate()(asked(authorization=value))) == 401


def test_two_authorization_fields_get_401() -> None:
    request = _signed("ann", "pass:wörd")
    request.fields = [*request.fields, *request.fields]
    assert _status(_gate()(request)) == 401


def test_the_scheme_is_in_any_case() -> None:
    request = _signed("ann", "pass:wörd")
    request.fields = [(b"authorization", b"bAsIc" + request.fields[0][1][5:])]
    assert _gate()(request) is None


def test_the_realm_is_quoted() -> None:
    found = answer({"basic_auth": {"realm": 'My "\\" ä', "users": {"ann": HASH}}}, asked())
    assert found is not None
    challenge = 'Basic realm="My \\"\\\\\\" ä", charset="UTF-8"'
    assert found.fields == ((b"WWW-Authenticate", challenge.encode()),)


def test_a_right_password_is_hashed_once(hashed: list[bytes]) -> None:
    gate = _gate()
    assert [gate(_signed("ann", "pass:wörd")) for _ in range(50)] == [None] * 50
    assert len(hashed) == 1


def test_a_wrong_password_is_hashed_once(hashed: list[bytes]) -> None:
    gate = _gate()
    assert {_status(gate(_signed("ann", "wrong"))) for _ in range(50)} == {401}
    assert len(hashed) == 1


def test_a_name_that_is_not_there_costs_as_much_as_one_that_is(hashed: list[bytes]) -> None:
    gate = _gate()
    for name in ("ann", "bob", "eve"):
        assert _status(gate(_signed(name, "wrong"))) == 401
    assert len(hashed) == 3


def test_a_new_hash_ends_what_was_remembered() -> None:
    verifier = Verifier(clock=Clock())
    assert _gate(verifier, ann=HASH)(_signed("ann", "pass:wörd")) is None
    assert _status(_gate(verifier, ann=hash_password("new"))(_signed("ann", "pass:wörd"))) == 401
    assert _gate(verifier, ann=HASH)(_signed("ann", "pass:wörd")) is None


def test_a_client_that_tries_passwords_is_slowed_and_others_are_not(hashed: list[bytes]) -> None:
    clock = Clock()
    gate = _gate(Verifier(clock=clock))
    assert gate(_signed("ann", "pass:wörd", "192.0.2.9")) is None
    tries = [_status(gate(_signed("ann", str(number)))) for number in range(30)]
    assert tries == [401] * 8 + [429] * 22
    assert len(hashed) == 9
    assert gate(_signed("ann", "pass:wörd", "192.0.2.9")) is None
    clock.now += 0.3
    assert _status(gate(_signed("ann", "again"))) == 401
    found = gate(_signed("ann", "and again"))
    assert found is not None and found.status == 429 and dict(found.fields)[b"Retry-After"] == b"1"


def test_many_clients_together_cannot_keep_the_loop_busy(hashed: list[bytes]) -> None:
    clock = Clock()
    gate = _gate(Verifier(clock=clock))
    for number in range(300):
        clock.now += 0.01
        gate(_signed("ann", str(number), f"2001:db8:{number:x}::1"))
    assert len(hashed) <= 10 + 30


def test_a_costly_hash_uses_up_the_same_time(hashed: list[bytes]) -> None:
    salt = b"s" * 16
    result = hashlib.scrypt(b"x", salt=salt, n=16384, r=8, p=1, maxmem=64 << 20, dklen=32)
    text = f"scrypt$16384$8$1${base64.b64encode(salt).decode()}${base64.b64encode(result).decode()}"
    gate = _gate(ann=text)
    assert gate(_signed("ann", "x")) is None
    assert [_status(gate(_signed("ann", str(number), f"192.0.2.{number}"))) for number in range(3)] == [401, 429, 429]


def test_what_is_remembered_is_bounded_and_failures_push_out_no_success(hashed: list[bytes]) -> None:
    clock = Clock()
    verifier = Verifier(most=3, clock=clock)
    gate = _gate(verifier)
    assert gate(_signed("ann", "pass:wörd")) is None
    for number in range(6):
        clock.now += 1
        assert _status(gate(_signed("ann", str(number)))) == 401
    hashed.clear()
    assert gate(_signed("ann", "pass:wörd")) is None
    assert hashed == []
    assert len(verifier._wrong) == 3


def test_memory_holds_no_password() -> None:
    verifier = Verifier(clock=Clock())
    _gate(verifier)(_signed("ann", "pass:wörd"))
    (digest,) = verifier._right
    assert len(digest) == 32 and "pass" not in repr(vars(verifier))


def test_the_documented_format_is_the_one_that_is_read() -> None:
    salt = bytes(range(16))
    result = hashlib.scrypt("pä$$".encode(), salt=salt, n=4096, r=8, p=1, dklen=32)
    text = f"scrypt$4096$8$1${base64.b64encode(salt).decode()}${base64.b64encode(result).decode()}"
    assert text == "scrypt$4096$8$1$AAECAwQFBgcICQoLDA0ODw==$ZCm/Mh+2Ve4u1E0RQ4LREK8c8BmvsjqUZeilYs56HZo="
    assert parse(text).matches("pä$$".encode())
    assert HASH.startswith("scrypt$4096$8$1$") and parse(HASH).cost == 1


_REST = "AAAAAAAAAAAAAAAAAAAAAA==$" + "A" * 43 + "="


@pytest.mark.parametrize(
    "text",
    [
        "",
        "secret",
        "bcrypt$4096$8$1$" + _REST,
        "scrypt$4096$8$" + _REST,
        "scrypt$4096$8$1$" + _REST + "$",
        "scrypt$4095$8$1$" + _REST,
        "scrypt$512$8$1$" + _REST,
        "scrypt$32768$8$1$" + _REST,
        "scrypt$16384$8$2$" + _REST,
        "scrypt$1024$1$128$" + _REST,
        "scrypt$1024$128$1$" + _REST,
        "scrypt$-1024$8$1$" + _REST,
        "scrypt$٤٠٩٦$8$1$" + _REST,
        "scrypt$4096$0$1$" + _REST,
        "scrypt$" + "9" * 5000 + "$8$1$" + _REST,
        "scrypt$4096$8$1$!$" + "A" * 44,
        "scrypt$4096$8$1$$",
        "scrypt$4096$8$1$AAAAAAAAAAAAAAAAAAAAAA==$AAAA",
    ],
)
def test_a_hash_that_is_bad_or_too_costly_is_refused(text: str) -> None:
    with pytest.raises(BadValue):
        parse(text)
    assert status({"basic_auth": {"users": {"ann": HASH, "bob": text}}}, _signed("ann", "pass:wörd")) == 503


@pytest.mark.parametrize(
    "value",
    [
        {"users": {}},
        {"users": {"": HASH}},
        {"users": {"a:b": HASH}},
        {"users": {"a\n": HASH}},
        {"users": {"\ud800": HASH}},
        {"users": {"a": 7}},
        {"realm": "a\r\nb", "users": {"a": HASH}},
        {"realm": 7, "users": {"a": HASH}},
        {"realm": "a" * 300, "users": {"a": HASH}},
    ],
)
def test_a_bad_value_lets_nobody_in(value: Any) -> None:
    assert status({"basic_auth": value}, _signed("a", "pass:wörd")) == 503
