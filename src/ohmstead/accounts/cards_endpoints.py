"""`/api/evowner/{nic}/cards`: the cards of a driver, and their approval."""

from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Body, Depends, Path, Query, Request, Response
from pydantic import Field, StringConstraints

from ohmstead.accounts import cards as service
from ohmstead.accounts.access import Caller, require_active
from ohmstead.accounts.cards import Move
from ohmstead.accounts.cards_standing import CardStatus, shown
from ohmstead.accounts.drivers_endpoints import OwnerName
from ohmstead.accounts.drivers_queries import find_driver
from ohmstead.accounts.id_tags_schemas import IdTag
from ohmstead.accounts.models import Token
from ohmstead.accounts.schemas import CamelSchema
from ohmstead.accounts.texts import Reason
from ohmstead.core.http import Now, UnitOfWork, UtcTime
from ohmstead.core.openapi import refuses
from ohmstead.core.paging import Paging
from ohmstead.core.text import Text

router = APIRouter(prefix="/api/evowner", tags=["Drivers"])

CardId = Annotated[UUID, Path(description="The id of a card.")]
Label = Annotated[Text, StringConstraints(min_length=1, max_length=80)]
NOT_READY = refuses(409, "The card is in a state that does not allow it.")


class CardIn(CamelSchema):
    """A card of a driver: what its chip says (OCPP 1.6: 20 characters at most), and a name for people."""

    id_tag: IdTag = Field(examples=["04A2B3C4D5E680"])
    label: Label | None = Field(None, examples=["Key ring"])
    backoffice_id: UUID | None = Field(
        None,
        description="The business that shall approve the card, where cards wait for that; left out: one that"
        " the driver has charged with.",
    )


class CardChange(CamelSchema):
    """Another name for a card; null takes it away."""

    label: Label | None


class CardRejection(CamelSchema):
    """Why a card is refused; it is mailed to its driver."""

    reason: Reason


class CardReason(CamelSchema):
    """Why something is done with a card; kept in the audit trail."""

    reason: Reason | None = None


class CardOut(CamelSchema):
    """A card of a driver. It charges while it is Active and its driver is not deactivated.

    `backofficeId` is the business that was asked to approve it.
    """

    id: UUID
    owner_id: UUID
    id_tag: str
    label: str | None
    status: CardStatus
    backoffice_id: UUID | None
    created_at: UtcTime


class CardOfDriver(CardOut):
    """A card with the name of its driver."""

    owner_name: str | None


def card_of(card: Token) -> CardOut:
    """Return a card as it goes out."""
    return CardOut(**_told(card))


def _told(card: Token) -> dict[str, Any]:
    return {
        "id": card.id,
        "owner_id": card.driver_id,
        "id_tag": card.id_tag,
        "label": card.label,
        "status": shown(card),
        "backoffice_id": card.approver_id,
        "created_at": card.created_at,
    }


@router.get("/cards", response_model=list[CardOfDriver])
async def list_cards_of_drivers(
    *,
    response: Response,
    session: UnitOfWork,
    principal: Caller,
    paging: Annotated[Paging, Depends()],
    status: Annotated[CardStatus | None, Query(description="Only cards with this status.")] = None,
) -> list[CardOfDriver]:
    """List the cards of the drivers that the caller knows, the oldest first; those that wait are `Pending`.

    Among these are those whose driver asked the caller's business to approve them, also of drivers that it
    does not know otherwise: they are approved and refused by their `ownerId`. `q` searches tag and label. The
    header `X-Next-Cursor` is the `cursor` of the next page.
    """
    found = await service.list_all_cards(session, principal, paging, status)
    names = await service.names_of_drivers(session, found.rows)
    cards = map(_told, found.rows)
    return found.array(response, (CardOfDriver(**card, owner_name=names[card["owner_id"]]) for card in cards))


@router.get("/{nic}/cards", response_model=list[CardOut])
async def list_cards(session: UnitOfWork, principal: Caller, nic: OwnerName) -> list[CardOut]:
    """List the cards of a driver, the oldest first; there are twenty at most."""
    driver, _ = await find_driver(session, principal, nic)
    return [card_of(card) for card in await service.list_cards(session, driver)]


@router.post(
    "/{nic}/cards",
    status_code=201,
    response_model=CardOut,
    responses=refuses(409, "The card has an owner already, or the driver has twenty cards."),
)
async def add_card(
    *, body: CardIn, request: Request, session: UnitOfWork, principal: Caller, now: Now, nic: OwnerName
) -> CardOut:
    """Add a card. By setting it charges at once, or when it is approved (`status: "Pending"` until then)."""
    require_active(principal)
    driver, _ = await find_driver(session, principal, nic)
    settings = request.app.state.settings
    card = await service.add_card(
        session,
        settings,
        driver,
        id_tag=body.id_tag,
        label=body.label,
        approver_id=body.backoffice_id,
        now=now,
    )
    return card_of(card)


@router.put("/{nic}/cards/{card_id}", response_model=CardOut)
async def label_card(
    body: CardChange, session: UnitOfWork, principal: Caller, nic: OwnerName, card_id: CardId
) -> CardOut:
    """Give a card another name."""
    driver, _ = await find_driver(session, principal, nic)
    return card_of(await service.label_card(session, driver, card_id, body.label))


@router.delete("/{nic}/cards/{card_id}", status_code=204, responses=NOT_READY)
async def remove_card(session: UnitOfWork, principal: Caller, nic: OwnerName, card_id: CardId) -> None:
    """Remove a card: it charges no more. One that staff has blocked stays (409)."""
    driver, _ = await find_driver(session, principal, nic)
    await service.remove_card(session, driver, card_id)


@dataclass(frozen=True, slots=True)
class Moving:
    """Who moves which card, when and why."""

    session: UnitOfWork
    principal: Caller
    now: Now
    nic: OwnerName
    card_id: CardId
    body: Annotated[CardReason | None, Body()] = None

    async def to(self, move: Move) -> CardOut:
        """Move it, and show it."""
        reason = None if self.body is None else self.body.reason
        if move is Move.APPROVE:
            driver = await service.find_driver_of_card(self.session, self.principal, self.nic, self.card_id)
        else:
            driver, _ = await find_driver(self.session, self.principal, self.nic)
        card = await service.move_card(
            self.session, self.principal, driver, self.card_id, move=move, reason=reason, now=self.now
        )
        return card_of(card)


Moved = Annotated[Moving, Depends()]


@router.put("/{nic}/cards/{card_id}/block", response_model=CardOut, responses=NOT_READY)
async def block_card(moving: Moved) -> CardOut:
    """Keep a card from charging, until it is unblocked. What staff has blocked, staff alone unblocks."""
    return await moving.to(Move.BLOCK)


@router.put("/{nic}/cards/{card_id}/unblock", response_model=CardOut, responses=NOT_READY)
async def unblock_card(moving: Moved) -> CardOut:
    """Let a card charge that its driver had blocked; staff lifts its own block first, where there is one."""
    require_active(moving.principal)
    return await moving.to(Move.UNBLOCK)


@router.put("/{nic}/cards/{card_id}/lost", response_model=CardOut, responses=NOT_READY)
async def lose_card(moving: Moved) -> CardOut:
    """Say that a card is lost: it charges no more, unless it is approved again."""
    return await moving.to(Move.LOSE)


@router.put("/{nic}/cards/{card_id}/approve", response_model=CardOut, responses=NOT_READY)
async def approve_card(moving: Moved) -> CardOut:
    """Approve a card that waits, or one that was lost and found: from now on it charges everywhere.

    The business that a driver asked to approve its card names the driver by `ownerId`.
    """
    return await moving.to(Move.APPROVE)


@router.put("/{nic}/cards/{card_id}/reject", status_code=204, responses=NOT_READY)
async def reject_card(
    *,
    body: CardRejection,
    request: Request,
    session: UnitOfWork,
    principal: Caller,
    nic: OwnerName,
    card_id: CardId,
) -> None:
    """Refuse a card that waits: it is gone, and the reason is mailed to its driver."""
    driver = await service.find_driver_of_card(session, principal, nic, card_id)
    settings = request.app.state.settings
    await service.reject_card(session, settings, principal, driver, card_id, reason=body.reason)
