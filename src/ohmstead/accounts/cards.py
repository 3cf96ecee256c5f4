"""The cards of a driver: id tags of its own, which work at every charger once they are approved.

What a card is (`cards_standing`) moves by the table below.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, and_, column, exists, false, func, or_, select, table
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.audit import record
from ohmstead.accounts.cards_standing import CardStatus, shown, stand, standing, stop
from ohmstead.accounts.constraints import refusing
from ohmstead.accounts.drivers_queries import drivers_of, find_driver
from ohmstead.accounts.models import Backoffice, BackofficeStatus, Role, Token, TokenStatus, User
from ohmstead.accounts.personal_data_standing import require_not_erased
from ohmstead.accounts.principal import Principal
from ohmstead.core.config import Settings
from ohmstead.core.errors import Conflict, Invalid, NotFound
from ohmstead.core.paging import Order, Paging, Slice, containing, time_key, uuid_key
from ohmstead.mail.service import send_mail

AT_MOST = 20
"""Cards of one driver: more are a slip, or somebody who tries numbers."""

ORDER = Order(keys={"created_at": time_key(Token.created_at)}, tie=uuid_key(Token.id), default="created_at")

_sessions = table("charging_session", column("token_id"))
"""Of a domain above this one; what is asked here is only whether a card has charged."""


class Move(StrEnum):
    """What can be done with a card."""

    APPROVE = "approve"
    BLOCK = "block"
    UNBLOCK = "unblock"
    LOSE = "lost"


MOVES: Mapping[Move, Mapping[CardStatus, CardStatus]] = {
    Move.APPROVE: {CardStatus.PENDING: CardStatus.ACTIVE, CardStatus.LOST: CardStatus.ACTIVE},
    Move.BLOCK: {CardStatus.ACTIVE: CardStatus.BLOCKED},
    Move.UNBLOCK: {CardStatus.BLOCKED: CardStatus.ACTIVE},
    Move.LOSE: {CardStatus.ACTIVE: CardStatus.LOST, CardStatus.BLOCKED: CardStatus.LOST},
}
"""From what to what; a move that leads to where the card is changes nothing."""


def _there() -> ColumnElement[bool]:
    return and_(Token.driver_id.is_not(None), Token.card_status != CardStatus.REMOVED)


async def list_cards(session: AsyncSession, driver: User) -> list[Token]:
    """Return the cards of a driver, the oldest first."""
    query = select(Token).where(Token.driver_id == driver.id, _there())
    return list((await session.execute(query.order_by(Token.created_at, Token.id))).scalars())


async def list_all_cards(
    session: AsyncSession, principal: Principal, paging: Paging, status: CardStatus | None
) -> Slice[Token]:
    """Return a page of the cards of the drivers that the caller knows; `q` searches tag and label.

    Those that wait for the caller's business, which their driver asked to approve them, are among them.
    """
    asked = _asked_of(principal, CardStatus.PENDING)
    query = (
        select(Token)
        .join(User, User.id == Token.driver_id)
        .where(or_(drivers_of(principal), asked), _there(), containing(paging.q, Token.id_tag, Token.label))
    )
    if status is CardStatus.BLOCKED:
        query = query.where(or_(Token.stopped_as.is_not(None), Token.card_status == status))
    elif status is not None:
        query = query.where(Token.stopped_as.is_(None), Token.card_status == status)
    return await ORDER.slice(session, query, paging)


async def names_of_drivers(session: AsyncSession, cards: Iterable[Token]) -> dict[UUID, str | None]:
    """Return what the drivers of these cards are called, by their ids."""
    ids = {card.driver_id for card in cards}
    rows = await session.execute(select(User.id, User.name).where(User.id.in_(ids)))
    return {row.id: row.name for row in rows}


async def find_driver_of_card(session: AsyncSession, principal: Principal, name: str, card_id: UUID) -> User:
    """Return the driver of a card that the caller may decide on.

    One that its business was asked to approve is found by the id of its driver, whom it need not know. Raises
    `NotFound`.
    """
    try:
        return (await find_driver(session, principal, name))[0]
    except NotFound:
        asked = _asked_of(principal, CardStatus.PENDING, CardStatus.ACTIVE)
        query = select(User).join(Token, Token.driver_id == User.id).where(Token.id == card_id, asked)
        driver: User | None = await session.scalar(query)
        if driver is None or str(driver.id) != name.lower():
            raise
        return driver


def _asked_of(principal: Principal, *states: CardStatus) -> ColumnElement[bool]:
    """Return the condition for the cards in some states that the caller's business was asked to approve."""
    if principal.role is not Role.BACKOFFICE or principal.backoffice_id is None:
        return false()
    return and_(Token.approver_id == principal.backoffice_id, Token.card_status.in_(states))


async def find_card(session: AsyncSession, driver: User, card_id: UUID) -> Token:
    """Return a card of a driver, held until the commit. Raises `NotFound`."""
    query = select(Token).where(Token.id == card_id, Token.driver_id == driver.id, _there())
    card: Token | None = await session.scalar(query.with_for_update())
    if card is None:
        raise NotFound("There is no such card.", code="CardNotFound")
    return card


async def add_card(
    session: AsyncSession,
    settings: Settings,
    driver: User,
    *,
    id_tag: str,
    label: str | None,
    approver_id: UUID | None,
    now: datetime,
) -> Token:
    """Add a card of a driver; by setting it charges at once, or when it is approved.

    `approver_id` is the business that is asked to approve it; without one those do that know the driver. One
    that the driver had removed comes back. Raises `Conflict` when somebody has the tag (in any case), the
    driver too many, or staff has blocked it; `Invalid` for a business that is not at work.
    """
    if approver_id is not None:
        business = await session.get(Backoffice, approver_id)
        if business is None or business.status != BackofficeStatus.ACTIVE:
            fault = {"backofficeId": "is not at work"}
            raise Invalid("There is no such business at work.", fields=fault)
    # Held until the commit, so that two at once count each other.
    await session.refresh(driver, with_for_update=True)
    await require_not_erased(session, driver)
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
    if card.stopped_as is not None:
        raise Conflict("This card is blocked. Ask your charging business.", code="CardBlocked")
    card.label = label
    card.updated_at = now
    card.approver_id = approver_id if status is CardStatus.PENDING else None
    stand(card, status)
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
    session: AsyncSession,
    principal: Principal,
    driver: User,
    card_id: UUID,
    *,
    move: Move,
    reason: str | None,
    now: datetime,
) -> Token:
    """Approve, block, unblock or lose a card. Raises `NotFound`, and `Conflict` from another state.

    What somebody else than its driver blocks, nobody but staff unblocks.
    """
    card = await find_card(session, driver, card_id)
    before, ways = shown(card), MOVES[move]
    if principal.user_id != driver.id and (move is Move.BLOCK or (move is Move.UNBLOCK and card.stopped_as)):
        if (move is Move.BLOCK) == (card.stopped_as is not None):
            return card
        stop(card, TokenStatus.BLOCKED if move is Move.BLOCK else TokenStatus.ACCEPTED)
    elif card.stopped_as is not None or before not in {*ways, *ways.values()}:
        raise _not_ready(card)
    elif before not in ways:
        return card
    else:
        stand(card, ways[before])
    card.updated_at = now
    await session.flush()
    await _record(
        session,
        f"card.{_DONE[move]}",
        card,
        before,
        reason=reason,
        backoffice_id=principal.backoffice_id,
    )
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
    if shown(card) is not CardStatus.PENDING:
        raise _not_ready(card)
    await _record(
        session,
        "card.rejected",
        card,
        CardStatus.PENDING,
        reason=reason,
        backoffice_id=principal.backoffice_id,
    )
    await take_away(session, card)
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

    Raises `Conflict` for one that staff has blocked: it could be added again, and charge.
    """
    card = await find_card(session, driver, card_id)
    if card.stopped_as is not None:
        raise _not_ready(card)
    await _record(session, "card.removed", card, standing(card))
    await take_away(session, card)


async def take_away(session: AsyncSession, card: Token) -> None:
    """Delete a card, or keep it out of sight where it has charged: sessions lead to their driver by it."""
    charged = select(exists().where(_sessions.c.token_id == card.id))
    if await session.scalar(charged):
        stand(card, CardStatus.REMOVED)
    else:
        await session.delete(card)
    await session.flush()


def _not_ready(card: Token) -> Conflict:
    return Conflict(
        f"This card is {shown(card)}, and from there it cannot be done. Ask your charging business.",
        code="CardNotReady",
    )


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
        after={"status": shown(card)},
        reason=reason,
        person_id=card.driver_id,
        personal=personal,
        backoffice_id=backoffice_id,
    )
