"""The password of a charger while it changes over the air (ChangeConfiguration of `AuthorizationKey`).

A charger may take a new password and come back with it before we have its answer, or without ever giving
one; and it may never have got it. So a password is accepted from the moment before it is sent, beside the
one that the charger has, until it is known which of them it uses:

- it accepts: the new one is its password, at once;
- it refuses: nothing has changed;
- it wants a restart first: both, until it connects with the new one;
- it errs, does not answer or leaves: both, until it connects; the one that it then uses is its password.

One is on its way at a time: of two, nobody could tell which one the charger took last.
"""

import re
import secrets
from collections.abc import Collection
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import ColumnElement, and_, delete, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.audit import record
from ohmstead.accounts.passwords import secret_hash, secret_matches
from ohmstead.core.acting import charger_acting
from ohmstead.core.db import UtcDateTime
from ohmstead.core.errors import Conflict
from ohmstead.stations.models import Charger, NextPassword

AUTHORIZATION_KEY = "AuthorizationKey"
PERMISSION = "chargers:manage"
"""Who may change the password of a charger, in whatever way."""
KEY_BYTES = 20
"""The most that an AuthorizationKey holds (security whitepaper: 40 hexadecimal digits)."""
OUT_AT_MOST = timedelta(minutes=25)
"""No command waits longer for its turn and then its answer (`OHMSTEAD_OCPP_CALL_TIMEOUT` each, which is 10
minutes at most): what is out for longer was sent by a process that has died.
"""
UNDECIDED_AT_MOST = 5
_HEXADECIMAL = re.compile(r"(?:[0-9A-Fa-f]{2})+")


class Sent(StrEnum):
    """What a charger made of a new password."""

    OUT = "Out"
    UNANSWERED = "Unanswered"
    AFTER_REBOOT = "AfterReboot"


def is_authorization_key(name: object) -> bool:
    """Tell whether a configuration key is the charger's password; keys have no case (OCPP 1.6 9.)."""
    return isinstance(name, str) and name.casefold() == AUTHORIZATION_KEY.casefold()


def new_key() -> str:
    """Return a random AuthorizationKey: 40 hexadecimal digits, which every charger can take."""
    return secrets.token_hex(KEY_BYTES)


def key_hash(value: str, key: str) -> str:
    """Return the hash to keep of an AuthorizationKey; `key` is the installation's secret key.

    Chargers send hexadecimal digits as the bytes that they stand for, or as text: their case is left out.
    """
    return secret_hash(value.lower() if _HEXADECIMAL.fullmatch(value) else value, key)


def matching(password: bytes, stored: Collection[str | None], *keys: str) -> str | None:
    """Return the one of some hashes that a password from the wire belongs to, or None.

    It is taken as text, and as the bytes of a key that was set as hexadecimal digits. `keys` are the secret
    keys of the installation that are live.
    """
    spellings = {password, password.hex().encode(), password.hex().upper().encode()}
    if re.fullmatch(rb"(?:[0-9A-Fa-f]{2})+", password):
        spellings.add(password.lower())
    for one in stored:
        if any(secret_matches(spelling, one, *keys) for spelling in sorted(spellings)):
            return one
    return None


async def offer(session: AsyncSession, charger_id: str, password_hash: str, now: datetime) -> None:
    """Accept a password from now on, which is about to be sent to the charger.

    Raises `Conflict` while another one is on its way, and when it is not known of too many whether the
    charger has taken them. One that a killed process had sent is in the way for `OUT_AT_MOST`.
    """
    await _lock(session, charger_id)
    rows = (await session.scalars(select(NextPassword).where(NextPassword.charger_id == charger_id))).all()
    if any(row.state == Sent.OUT and row.at > now - OUT_AT_MOST for row in rows):
        raise Conflict(
            f"Another new password is on its way to charger {charger_id}, which has not answered yet. This"
            " one was not sent: try again when that command has ended.",
            detail="If the server was killed meanwhile: both passwords let the charger in, and a new one can"
            f" be sent {OUT_AT_MOST.seconds // 60} minutes after that.",
            code="PasswordUndecided",
        )
    if sum(row.password_hash != password_hash for row in rows) >= UNDECIDED_AT_MOST:
        raise Conflict(
            f"Of the last {UNDECIDED_AT_MOST} new passwords charger {charger_id} did not say whether it took"
            " them. Let it connect once, then try again.",
            code="PasswordUndecided",
        )
    row = select(
        Charger.id, literal(password_hash), literal(Sent.OUT.value), literal(now, UtcDateTime())
    ).where(Charger.id == charger_id)
    values = {"state": Sent.OUT.value, "at": now}
    await session.execute(
        insert(NextPassword)
        .from_select(["charger_id", "password_hash", "state", "at"], row)
        .on_conflict_do_update(index_elements=["charger_id", "password_hash"], set_=values)
    )


async def accepted(session: AsyncSession, charger_id: str, password_hash: str, now: datetime) -> bool:
    """Make an offered password the charger's own; False when it is offered no more."""
    await _lock(session, charger_id)
    sent_at = await session.scalar(select(NextPassword.at).where(_is(charger_id, password_hash)))
    if sent_at is None:
        return False
    await _take(session, charger_id, password_hash, sent_at, now)
    return True


async def refused(session: AsyncSession, charger_id: str, password_hash: str) -> None:
    """Forget an offered password: the charger keeps the one that it has."""
    await session.execute(delete(NextPassword).where(_is(charger_id, password_hash)))


async def undecided(session: AsyncSession, charger_id: str, password_hash: str, state: Sent) -> None:
    """Keep an offered password beside the charger's own; `state` says for how long."""
    await session.execute(update(NextPassword).where(_is(charger_id, password_hash)).values(state=state))


async def used(session: AsyncSession, charger_id: str, password_hash: str, at: datetime) -> None:
    """Decide by the password that a charger connected with at `at`.

    An offered one becomes its own. Its own one ends the offers from before that nobody answered.
    """
    own = await _lock(session, charger_id)
    if own == password_hash:
        await session.execute(
            delete(NextPassword).where(NextPassword.charger_id == charger_id, _given_up(at))
        )
        return
    sent_at = await session.scalar(select(NextPassword.at).where(_is(charger_id, password_hash)))
    if sent_at is not None:
        await _take(session, charger_id, password_hash, sent_at, at)


async def forget_offers(session: AsyncSession, charger_id: str, now: datetime) -> None:
    """Forget what was offered, when the password is set by hand; not what is on its way at this moment."""
    on_its_way = and_(NextPassword.state == Sent.OUT, NextPassword.at >= now - OUT_AT_MOST)
    await session.execute(delete(NextPassword).where(NextPassword.charger_id == charger_id, ~on_its_way))


async def _lock(session: AsyncSession, charger_id: str) -> str | None:
    query = select(Charger.password_hash).where(Charger.id == charger_id)
    return await session.scalar(query.with_for_update(key_share=True))


async def _take(
    session: AsyncSession, charger_id: str, password_hash: str, sent_at: datetime, now: datetime
) -> None:
    """Make a password the charger's own, and forget what was offered before it."""
    taken = await session.execute(
        update(Charger)
        .where(Charger.id == charger_id)
        .values(password_hash=password_hash, updated_at=now)
        .returning(Charger.backoffice_id, Charger.station_id)
    )
    for place in taken:
        await record(
            session,
            "charger.password_changed",
            entity="charger",
            entity_id=charger_id,
            backoffice_id=place.backoffice_id,
            station_id=place.station_id,
            by=charger_acting(charger_id),
        )
    before = or_(NextPassword.at <= sent_at, NextPassword.password_hash == password_hash)
    await session.execute(delete(NextPassword).where(NextPassword.charger_id == charger_id, before))


def _is(charger_id: str, password_hash: str) -> ColumnElement[bool]:
    return and_(NextPassword.charger_id == charger_id, NextPassword.password_hash == password_hash)


def _given_up(at: datetime) -> ColumnElement[bool]:
    unanswered = and_(NextPassword.state == Sent.UNANSWERED, NextPassword.at < at)
    lost = and_(NextPassword.state == Sent.OUT, NextPassword.at < at - OUT_AT_MOST)
    return or_(unanswered, lost)
