"""Keys of persons: what is written about somebody for good can be made unreadable for good.

AES-256-GCM (NIST SP 800-38D), a random key for each person, kept encrypted with a key that is derived from
the server's secret. Erasure takes the key away for good: nothing is kept of that person from then on.
"""

import secrets
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import orjson
import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.audit_models import PersonKey
from ohmstead.core.errors import DomainError, Kind

NONCE = 12

logger = structlog.stdlib.get_logger(__name__)


def wrapping_key(secret: str) -> bytes:
    """Derive the key that encrypts the keys of persons from a secret of the server (RFC 5869)."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"ohmstead person keys").derive(
        secret.encode()
    )


def seal(key: bytes, plain: bytes, context: bytes) -> bytes:
    """Encrypt; `context` must be the same to decrypt, so that nothing can be moved elsewhere."""
    nonce = secrets.token_bytes(NONCE)
    return nonce + AESGCM(key).encrypt(nonce, plain, context)


def unseal(key: bytes, sealed: bytes, context: bytes) -> bytes:
    """Decrypt. Raises `ValueError` when the key is another one, or the text was touched."""
    try:
        return AESGCM(key).decrypt(sealed[:NONCE], sealed[NONCE:], context)
    except InvalidTag as error:
        raise ValueError("this was encrypted with another key, or has been changed") from error


def unsealed_by_any(keys: Iterable[bytes], sealed: bytes, context: bytes) -> bytes:
    """Decrypt with the one of some keys that fits. Raises `ValueError` when none does."""
    for key in keys:
        try:
            return unseal(key, sealed, context)
        except ValueError:
            continue
    raise ValueError("this was encrypted with a key that is not at hand, or has been changed")


def sealed_anew(keys: Sequence[bytes], sealed: bytes, context: bytes) -> bytes | None:
    """Encrypt with the first of some keys what another of them opens.

    None when there is nothing to do: the first one opens it. Raises `ValueError` when none does.
    """
    try:
        unseal(keys[0], sealed, context)
    except ValueError:
        return seal(keys[0], unsealed_by_any(keys[1:], sealed, context), context)
    return None


class SecretKeyMissing(DomainError):
    """The key of a person was encrypted with a secret of the server that it has no more."""

    HINT = "Set OHMSTEAD_SECRET_KEY_PREVIOUS to the secret key that was there before."
    kind = Kind.UNAVAILABLE
    code = "SecretKeyMissing"

    def __init__(self) -> None:
        super().__init__(
            "This server was given another secret key, and lacks the one before. Tell whoever runs it."
        )


class PersonKeys:
    """Finds and makes keys. `server_secrets` are those in use, the one for new keys first."""

    def __init__(self, *server_secrets: str) -> None:
        self._wrapping = [wrapping_key(secret) for secret in server_secrets]

    async def key_of(self, session: AsyncSession, person_id: UUID) -> bytes | None:
        """Return the key of a person, made at the first call; None for one that was forgotten."""
        there = select(PersonKey.wrapped).where(PersonKey.person_id == person_id)
        row = (await session.execute(there)).one_or_none()
        if row is None:
            made = seal(self._wrapping[0], secrets.token_bytes(32), person_id.bytes)
            await session.execute(
                insert(PersonKey).values(person_id=person_id, wrapped=made).on_conflict_do_nothing()
            )
            row = (await session.execute(there)).one()
        if row.wrapped is None:
            return None
        key = self._unwrapped(person_id, row.wrapped)
        if key is None:
            raise SecretKeyMissing
        return key

    async def known(self, session: AsyncSession, person_ids: set[UUID]) -> dict[UUID, bytes]:
        """Return the keys that there are of these persons; who was erased has none.

        One that no secret of this server opens is left out, and the log tells of it.
        """
        rows = await session.execute(
            select(PersonKey.person_id, PersonKey.wrapped).where(PersonKey.person_id.in_(person_ids))
        )
        found = {one: self._unwrapped(one, wrapped) for one, wrapped in rows if wrapped is not None}
        return {person_id: key for person_id, key in found.items() if key is not None}

    def _unwrapped(self, person_id: UUID, wrapped: bytes) -> bytes | None:
        try:
            return unsealed_by_any(self._wrapping, wrapped, person_id.bytes)
        except ValueError:
            logger.error("secret_key.missing", user_id=str(person_id), hint=SecretKeyMissing.HINT)
            return None

    async def encrypt(self, session: AsyncSession, person_id: UUID, values: dict[str, Any]) -> bytes | None:
        """Encrypt what is said about a person; None, and nothing is kept, for one that was forgotten."""
        key = await self.key_of(session, person_id)
        return None if key is None else seal(key, orjson.dumps(values), person_id.bytes)


def decrypt(key: bytes | None, person_id: UUID, sealed: bytes) -> dict[str, Any] | None:
    """Read what was said about a person; None when the person has been erased."""
    if key is None:
        return None
    values: dict[str, Any] = orjson.loads(unseal(key, sealed, person_id.bytes))
    return values


async def forget(session: AsyncSession, person_id: UUID) -> None:
    """Take the key of a person away for good: what was encrypted with it is gone, and nothing follows."""
    statement = insert(PersonKey).values(person_id=person_id, wrapped=None)
    await session.execute(
        statement.on_conflict_do_update(index_elements=["person_id"], set_={"wrapped": None})
    )
