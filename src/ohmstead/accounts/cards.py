"""The cards of a driver: id tags of its own, which work at every charger once they are approved.

What a card is (`card_status`) moves by the table below; what a charger is told of it (`status`) follows.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, and_, column, exists, func, select, table
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.audit import record
from ohmstead.accounts.constraints import refusing
from ohmstead.accounts.drivers_queries import drivers_of
from ohmstead.accounts.models import Token, TokenStatus, User
from ohmstead.accounts.principal import Principal
from ohmstead.core.config import Settings
from ohmstead.core.errors import Conflict, NotFound
from ohmstead.core.paging import Order, Paging, Slice, containing, time_key, uuid_key
from ohmstead.mail.service import send_mail

AT_MOST = 20
"""Cards of one driver: more are a slip, or somebody who tries numbers."""

ORDER = Order(keys={"created_at": time_key(Token.created_at)}, tie=uuid_key(Token.id), default="created_at")

_sessions = table("charging_session", column("token_id"))
"""Of a domain above this one; what is asked here is only whether a card has charged."""


class CardStatus(StrEnum):
    """Where a card stands. A removed one that has charged is kept out of sight: it tells whose that was."""

    PENDING = "Pending"
    ACTIVE = "Active"
    BLOCKED = "Blocked"
    LOST = "Lost"
    REMOVED = "Removed"


class Move(StrEnum):
    """What can be done with a card."""

    APPROVE = "approve"
    BLOCK = "block"
    UNBLOCK = "unblock"
    LOSE = "lost"


TOLD: Mapping[CardStatus, TokenStatus] = {
    CardStatus.PENDING: TokenStatus.INVALID,
    CardStatus.ACTIVE: TokenStatus.ACCEPTED,
    CardStatus.BLOCKED: TokenStatus.BLOCKED,
    CardStatus.LOST: TokenStatus.BLOCKED,
    CardStatus.REMOVED: TokenStatus.INVALID,
}
"""What a charger is told of a card."""

MOVES: Mapping[Move, Mapping[CardStatus, CardStatus]] = {
    Move.APPROVE: {CardStatus.PENDING: CardStatus.ACTIVE, CardStatus.LOST: CardStatus.ACTIVE},
    Move.BLOCK: {CardStatus.ACTIVE: CardStatus.BLOCKED},
    Move.UNBLOCK: {CardStatus.BLOCKED: CardStatus.ACTIVE},
    Move.LOSE: {CardStatus.ACTIVE: CardStatus.LOST, CardStatus.BLOCKED: CardStatus.LOST},
}
"""From what to what; a move that leads to where the card is changes nothing."""


def shown(card: Token) -> CardStatus:
    """Return where a card stands; one that was blocked as an id tag is Blocked, whatever its driver says."""
    status = CardStatus(card.card_status or CardStatus.ACTIVE)
    stopped = status is CardStatus.ACTIVE and card.status != TokenStatus.ACCEPTED
    return CardStatus.BLOCKED if stopped else status


def _there() -> ColumnElement[bool]:
    return and_(Token.driver_id.is_not(None), Token.card_status != CardStatus.REMOVED)


async def list_cards(session: AsyncSession, driver: User) -> list[Token]:
    """Return the cards of a driver, the oldest first."""
    query = select(Token).where(Token.driver_id == driver.id, _there())
    return list((await session.execute(query.order_by(Token.created_at, Token.id))).scalars())


async def list_all_cards(
    session: AsyncSession, principal: Principal, paging: Paging, status: CardStatus | None
) -> Slice[Token]:
    """Return a page of the cards of the drivers that the caller knows; `q` searches tag and label."""
    query = (
        select(Token)
        .join(User, User.id == Token.driver_id)
        .where(drivers_of(principal), _there(), containing(paging.q, Token.id_tag, Token.label))
    )
    if status is not None:
        query = query.where(Token.card_status == status)
    return await ORDER.slice(session, query, paging)


async def find_card(session: AsyncSession, driver: User, card_id: UUID) -> Token:
    """Return a card of a driver, held until the commit. Raises `NotFound`."""
    query = select(Token).where(Token.id == card_id, Token.driver_id == driver.id, _there())
    card: Token | None = await session.scalar(query.with_for_update())
    if card is None:
        raise NotFound("There is no such card.", code="CardNotFound")
    return card


async def add_card(
    session: AsyncSession, settings: Settings, driver: User, *, id_tag: str, label: str | None, now: datetime
) -> Token:
    """Add a card of a driver; by setting it charges at once, or when it is approved.

    One that the driver had removed comes back. Raises `Conflict` when somebody has the tag (in any case), or
    the driver too many.
    """
    # Held until the commit, so that two at once count each other.
    await session.execute(select(User.id).where(User.id == driver.id).with_for_update())
    count = await session.scalar(select(func.count()).where(Token.driver_id == driver.id, _there()))
    if (count or 0) >= AT_MOST:
        raise Conflict(f"There are {AT_MOST} cards. Remove one first.", code="TooManyCards")
    status = CardStatus.PENDING if settings.card_approval == "backoffice" else CardStatus.ACTIVE
    removed = select(Token).where(
        Token.driver_id == driver.id,
        func.lower(Token.id_tag) == func.lower(id_tag),
        Token.card_status == CardStatus.REMOVED,
    )
    card: Token | None = await session.scalar(removed.with_for_update())
    if card is None:
        card = Token(id=uuid4(), id_tag=id_tag, driver_id=driver.id, created_at=now)
    card.label = label
    card.updated_at = now
    _set(card, status)
    taken = Conflict(
        "This card has an owner already. Ask your charging business when it is yours.",
        code="CardTaken",
        fields={"idTag": "has an owner already"},
    )
    async with refusing(session, {"uq_accounts_token_id_tag": taken}):
        session.add(card)
    await _record(session, "card.added", card, None, personal={"id_tag": id_tag, "label": label})
    return card


async def move_card(
    session: AsyncSession, principal: Principal, driver: User, card_id: UUID, *, move: Move, now: datetime
) -> Token:
    """Approve, block, unblock or lose a card. Raises `NotFound`, and `Conflict` from another state."""
    card = await find_card(session, driver, card_id)
    before = CardStatus(card.card_status or CardStatus.ACTIVE)
    ways = MOVES[move]
    if shown(card) is not before or before not in {*ways, *ways.values()}:
        raise _not_ready(card)
    if before not in ways:
        return card
    _set(card, ways[before])
    card.updated_at = now
    await session.flush()
    await _record(session, f"card.{_DONE[move]}", card, before, backoffice_id=principal.backoffice_id)
    return card


_DONE = {Move.APPROVE: "approved", Move.BLOCK: "blocked", Move.UNBLOCK: "unblocked", Move.LOSE: "lost"}


async def label_card(session: AsyncSession, driver: User, card_id: UUID, label: str | None) -> Token:
    """Give a card another name, or none. Raises `NotFound`."""
    card = await find_card(session, driver, card_id)
    if card.label != label:
        before, card.label = card.label, label
        await session.flush()
        personal = {"before": before, "after": label}
        await _record(session, "card.labelled", card, None, personal=personal)
    return card


async def reject_card(
    session: AsyncSession,
    settings: Settings,
    principal: Principal,
    driver: User,
    card_id: UUID,
    *,
    reason: str,
) -> None:
    """Refuse a card that waits, and mail its driver why. Raises `NotFound`, `Conflict`."""
    card = await find_card(session, driver, card_id)
    if card.card_status != CardStatus.PENDING:
        raise _not_ready(card)
    await _record(
        session,
        "card.rejected",
        card,
        CardStatus.PENDING,
        reason=reason,
        backoffice_id=principal.backoffice_id,
    )
    await _remove(session, card)
    await send_mail(
        session,
        settings,
        to=driver.email,
        template="card_rejected",
        name=driver.name or "",
        card=card.label or card.id_tag,
        reason=reason,
    )


async def remove_card(session: AsyncSession, driver: User, card_id: UUID) -> None:
    """Remove a card: it charges no more. Raises `NotFound`.

    Raises `Conflict` for one that an operator has blocked: it could be added again, and charge.
    """
    card = await find_card(session, driver, card_id)
    before = CardStatus(card.card_status or CardStatus.ACTIVE)
    if shown(card) is not before:
        raise _not_ready(card)
    await _record(session, "card.removed", card, before)
    await _remove(session, card)


async def _remove(session: AsyncSession, card: Token) -> None:
    """Delete a card, or keep it out of sight where it has charged: sessions lead to their driver by it."""
    charged = select(exists().where(_sessions.c.token_id == card.id))
    if await session.scalar(charged):
        _set(card, CardStatus.REMOVED)
    else:
        await session.delete(card)
    await session.flush()


def _not_ready(card: Token) -> Conflict:
    return Conflict(
        f"This card is {shown(card)}, and from there it cannot be done. Ask your charging business.",
        code="CardNotReady",
    )


def _set(card: Token, status: CardStatus) -> None:
    card.card_status = status
    card.status = TOLD[status]


async def _record(
    session: AsyncSession,
    action: str,
    card: Token,
    before: CardStatus | None,
    *,
    reason: str | None = None,
    backoffice_id: UUID | None = None,
    personal: dict[str, Any] | None = None,
) -> None:
    await record(
        session,
        action,
        entity="card",
        entity_id=card.id,
        before=None if before is None else {"status": before},
        after={"status": card.card_status},
        reason=reason,
        person_id=card.driver_id,
        personal=personal,
        backoffice_id=backoffice_id,
    )
