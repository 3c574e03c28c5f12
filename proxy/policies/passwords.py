"""Password hashes as texts, and their verification at a cost that the proxy can bear.

A hash is `scrypt$N$r$p$SALT$HASH`: scrypt (RFC 7914) of the password in UTF-8, unchanged, with N, r and p
in decimal; salt (16 bytes, random for each password) and result (32 bytes) in standard base64 with its
`=`. The control plane makes its own (it may import only `proxy.contract`):

    salt = os.urandom(16)
    result = hashlib.scrypt(password.encode(), salt=salt, n=4096, r=8, p=1, dklen=32)
    f"scrypt$4096$8$1${b64encode(salt).decode()}${b64encode(result).decode()}"

N = 4096 costs 4 MB and 10 to 20 ms. More is safer for a stolen hash, but the proxy is one event loop:
while one password is hashed, nobody is served. Hashes that cost more than four times that are refused.
"""

import hashlib
import hmac
import os
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass

from proxy.policies.base import BadValue
from proxy.policies.rate_limit import Limiter

_N, _R, _P, _SALT_BYTES, _HASH_BYTES = 4096, 8, 1, 16, 32
_LEAST_N, _MOST_N = 1024, 4 * _N
_MOST_WORK = 4 * _N * _R * _P
_MAX_MEMORY = 64 * 1024 * 1024
_MOST_REMEMBERED = 4096
# For a new client: eight tries at once, then four a second. For all together: ten a second of the cost
# that our own hashes have, which leaves most of the event loop to those who need no password.
_CLIENT_BURST, _CLIENT_SECONDS = 8, 2
_TOTAL_BURST, _TOTAL_SECONDS = 10, 1


@dataclass(frozen=True, slots=True)
class Stored:
    """A parsed hash; `text` is what it was parsed from."""

    text: str
    n: int
    r: int
    p: int
    salt: bytes
    result: bytes

    def matches(self, password: bytes) -> bool:
        found = hashlib.scrypt(
            password, salt=self.salt, n=self.n, r=self.r, p=self.p, maxmem=_MAX_MEMORY, dklen=len(self.result)
        )
        return hmac.compare_digest(found, self.result)

    @property
    def cost(self) -> float:
        """The work of a verification; 1 for hashes that we make."""
        return self.n * self.r * self.p / (_N * _R * _P)


def hash_password(text: str) -> str:
    """A new hash of a password."""
    salt = os.urandom(_SALT_BYTES)
    result = hashlib.scrypt(text.encode(), salt=salt, n=_N, r=_R, p=_P, maxmem=_MAX_MEMORY, dklen=_HASH_BYTES)
    return _spell(_N, _R, _P, salt, result)


def parse(text: str) -> Stored:
    """A hash for verification. Raises `BadValue`, also for one whose verification would take too long."""
    kind, *parts = text.split("$")
    if kind != "scrypt" or len(parts) != 5:
        raise BadValue("a password's hash is not scrypt$N$r$p$SALT$HASH")
    numbers, (salt_text, result_text) = parts[:3], parts[3:]
    # The length first: converting long numbers takes long.
    if not all(part.isascii() and part.isdigit() and len(part) <= 6 for part in numbers):
        raise BadValue("a password's hash has parameters that are no numbers")
    n, r, p = (int(part) for part in numbers)
    # r and p are bounded too: large ones cost time that the product does not show.
    if n & (n - 1) or not (_LEAST_N <= n <= _MOST_N and 1 <= r <= 16 and 1 <= p <= 16 and n * r * p <= _MOST_WORK):
        raise BadValue("a password's hash has parameters that are not possible, or take too long here")
    salt, result = _decoded(salt_text), _decoded(result_text)
    if not (8 <= len(salt) <= 64 and 16 <= len(result) <= 64):
        raise BadValue("a password's hash has a salt or a result of a wrong length")
    return Stored(text, n, r, p, salt, result)


def decoy(like: Stored) -> Stored:
    """A hash that no password has, as costly as another: names that are not there take as long as those that are."""
    salt, result = os.urandom(len(like.salt)), os.urandom(len(like.result))
    return Stored(_spell(like.n, like.r, like.p, salt, result), like.n, like.r, like.p, salt, result)


def _spell(n: int, r: int, p: int, salt: bytes, result: bytes) -> str:
    return f"scrypt${n}${r}${p}${b64encode(salt).decode()}${b64encode(result).decode()}"


def _decoded(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise BadValue("a password's hash is not in base64") from None


class Verifier:
    """Checks credentials, each pair once: what was right or wrong is remembered.

    Remembered are keyed digests (of stored hash, name and password), so memory holds no password that
    could be tried offline without the key, which is new in each process. A changed hash is another digest.
    """

    def __init__(self, most: int = _MOST_REMEMBERED, clock: Callable[[], float] = time.monotonic) -> None:
        self._key = os.urandom(32)
        self._most = most
        # Apart, so that a flood of wrong passwords cannot push the right ones out.
        self._right: dict[bytes, None] = {}
        self._wrong: dict[bytes, None] = {}
        self._clients = Limiter(_CLIENT_BURST, _CLIENT_SECONDS, clock=clock)
        self._total = Limiter(_TOTAL_BURST, _TOTAL_SECONDS, clock=clock)

    def check(self, stored: Stored, name: bytes, password: bytes, client: bytes) -> bool | float:
        """Whether the password is right, or the seconds (above 0) to wait before it can be verified."""
        # Neither the hash nor the name holds a colon, so the parts cannot be cut in another way.
        digest = hashlib.blake2b(
            b":".join((stored.text.encode(), name, password)), key=self._key, digest_size=32
        ).digest()
        if digest in self._right:
            self._remember(self._right, digest)
            return True
        if digest in self._wrong:
            return False
        wait = self._clients.take(client) or self._total.take(b"", stored.cost)
        if wait:
            return wait
        is_right = stored.matches(password)
        self._remember(self._right if is_right else self._wrong, digest)
        return is_right

    def _remember(self, digests: dict[bytes, None], digest: bytes) -> None:
        digests.pop(digest, None)
        if len(digests) >= self._most:
            # Dicts keep the order of insertion: the first was used longest ago.
            del digests[next(iter(digests))]
        digests[digest] = None
