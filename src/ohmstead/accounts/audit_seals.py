"""Sealing the audit trail: batches of entries under digests that form a chain, and checking them.

A seal covers entries that are committed, whichever they are: one that commits late goes into a later seal.
So nobody who writes ever waits for a seal. The digest is SHA-256 over the digest before, the time, and every
entry with all its columns in the order of ids; ciphertext is covered as it is, so that the chain holds when
the key of a person is gone.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson
from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.audit_models import AuditEntry, AuditSeal

BATCH = 1000
GENESIS = bytes(32)
COLUMNS = tuple(column.key for column in AuditEntry.__table__.columns if column.key != "seal_id")
LOCK = 7_305_140
"""The advisory lock of who seals; writers know nothing of it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check found: how much was looked at, and every fault in words."""

    seals: int
    entries: int
    unsealed: int
    head: str
    faults: tuple[str, ...]


def digest(previous: bytes, sealed_at: datetime, entries: Sequence[AuditEntry]) -> bytes:
    """Return the digest of a seal over these entries."""
    hashed = hashlib.sha256(previous)
    hashed.update(orjson.dumps([sealed_at, len(entries)]))
    for entry in sorted(entries, key=lambda one: one.id):
        hashed.update(orjson.dumps({name: _hashable(getattr(entry, name)) for name in COLUMNS}))
    return hashed.digest()


def _hashable(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    return value


async def seal_next(session: AsyncSession, now: datetime) -> int:
    """Seal one batch of what is committed and unsealed; returns how many entries that were."""
    if not await session.scalar(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": LOCK}):
        return 0
    found = await session.scalars(
        select(AuditEntry).where(AuditEntry.seal_id.is_(None)).order_by(AuditEntry.id).limit(BATCH)
    )
    entries = found.all()
    if not entries:
        return 0
    last = await session.scalar(select(AuditSeal).order_by(AuditSeal.id.desc()).limit(1))
    previous = GENESIS if last is None else last.digest
    # Milliseconds: what is hashed must come back from the database as it was.
    sealed_at = now.replace(microsecond=now.microsecond // 1000 * 1000)
    row = AuditSeal(
        id=1 if last is None else last.id + 1,
        sealed_at=sealed_at,
        entries=len(entries),
        previous=previous,
        digest=digest(previous, sealed_at, entries),
    )
    session.add(row)
    await session.flush()
    await session.execute(
        update(AuditEntry).where(AuditEntry.id.in_([one.id for one in entries])).values(seal_id=row.id)
    )
    return len(entries)


async def verify(session: AsyncSession) -> Verdict:
    """Check the whole chain: no entry changed, none removed, no seal changed, removed or put elsewhere."""
    faults: list[str] = []
    previous, expected, entries = GENESIS, 1, 0
    seals = (await session.scalars(select(AuditSeal).order_by(AuditSeal.id))).all()
    for one in seals:
        if one.id != expected:
            faults.append(f"seal {expected} is missing")
            expected = one.id
        if one.previous != previous and not faults:
            faults.append(f"seal {one.id} does not follow the seal before it")
        members = (
            await session.scalars(
                select(AuditEntry)
                .where(AuditEntry.seal_id == one.id)
                .execution_options(populate_existing=True)
            )
        ).all()
        entries += len(members)
        if len(members) != one.entries:
            faults.append(f"seal {one.id} covers {one.entries} entries, {len(members)} are there")
        elif digest(one.previous, one.sealed_at, members) != one.digest:
            faults.append(f"an entry of seal {one.id} was changed")
        for member in members:
            session.expunge(member)
        previous, expected = one.digest, expected + 1
    unsealed = await session.scalar(select(func.count()).where(AuditEntry.seal_id.is_(None)))
    return Verdict(len(seals), entries, unsealed or 0, previous.hex(), tuple(faults))
