"""Passwords of people (Argon2id) and secrets of ours (HMAC-SHA-256).

People choose weak passwords, so theirs are hashed slowly, and in one thread of its own: a wave of
sign-ins takes memory and time for one hash at once, and never holds up the event loop. Secrets
that we made ourselves are random; a keyed hash is enough for them and costs nothing.
"""

import asyncio
import base64
import hashlib
import hmac
import secrets
import string
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from pwdlib.hashers.argon2 import Argon2Hasher

from ohmstead.core.errors import Unavailable

WAITING_AT_MOST = 64
"""So many wait for the thread; the last of them waits about a second."""

MEMORY_KIB = 19 * 1024
PASSES = 2

Result = TypeVar("Result")


class HashingThread:
    """One worker thread with a bounded queue.

    `limit` is how many calls may be waiting or at work at once; one more raises `Unavailable`.
    """

    def __init__(self, limit: int = WAITING_AT_MOST) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="passwords")
        self._room = threading.BoundedSemaphore(limit)

    async def run(self, work: Callable[[], Result]) -> Result:
        """Run `work` in the thread and return its result; raise `Unavailable` when the queue is full."""
        if not self._room.acquire(blocking=False):
            raise Unavailable("Too many people are signing in at this moment. Try again in a few seconds.")
        future = self._executor.submit(work)
        future.add_done_callback(self._make_room)
        return await asyncio.wrap_future(future)

    def _make_room(self, _: Future[Result]) -> None:
        self._room.release()


_hashing = HashingThread()
_argon2 = Argon2Hasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=1)


def _encoded(length: int) -> str:
    return base64.b64encode(secrets.token_bytes(length)).decode().rstrip("=")


_NOBODY = f"$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p=1${_encoded(16)}${_encoded(32)}"
"""A hash that no password has, of the same cost as a real one."""


def _normal(password: str) -> str:
    """Return one spelling of what was typed: keyboards differ in how they compose an accent."""
    return unicodedata.normalize("NFKC", password)


async def hash_password(password: str) -> str:
    """Return the Argon2id hash of a password, in the encoded form that carries salt and cost.

    Raises `Unavailable` when too many are waiting for the hashing thread.
    """
    return await _hashing.run(lambda: _argon2.hash(_normal(password)))


async def verify(password: str, stored: str | None) -> bool:
    """Tell whether a password is the one that was hashed.

    `stored` None (nobody, or a user without a password) is never right and takes as long as a wrong
    password does. Raises `Unavailable` when too many are waiting for the hashing thread.
    """
    right = await _hashing.run(lambda: _argon2.verify(_normal(password), stored or _NOBODY))
    return right and stored is not None


_ALPHABET = string.ascii_letters + string.digits


def new_secret() -> str:
    """Return a random secret of 20 letters and digits (119 bits).

    20 bytes are the most that the AuthorizationKey of a charger holds where it is written in
    hexadecimal (OCPP 1.6 security whitepaper, 40 digits), and enough for everything else.
    """
    return "".join(secrets.choice(_ALPHABET) for _ in range(20))


def derive_key(key: str, purpose: str) -> bytes:
    """Return the 32-byte key for one purpose, made from the installation's secret key.

    What is signed or hashed for one purpose is worth nothing for another.
    """
    return hmac.digest(key.encode(), b"ohmstead:" + purpose.encode(), hashlib.sha256)


def secret_hash(secret: str | bytes, key: str) -> str:
    """Return the keyed hash (64 hexadecimal digits) of a random secret of ours.

    `key` is the installation's secret key. Bytes are what came over the wire and need not be UTF-8;
    text counts as its UTF-8 bytes.
    """
    raw = secret.encode(errors="surrogateescape") if isinstance(secret, str) else secret
    return hmac.new(derive_key(key, "secret"), raw, hashlib.sha256).hexdigest()


def secret_matches(secret: str | bytes, stored: str | None, *keys: str) -> bool:
    """Tell in constant time whether `secret` is the one whose hash is `stored`; nothing matches None.

    `keys` are the live secret keys of the installation: one of them made the hash.
    """
    if stored is None:
        return False
    return any([hmac.compare_digest(secret_hash(secret, key).encode(), stored.encode()) for key in keys])  # noqa: C419 # all are looked at
