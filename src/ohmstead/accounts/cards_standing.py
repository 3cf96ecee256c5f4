"""Where a card of a driver stands.

Its driver and those who approve it move it (`card_status`); apart from that staff may stop it (`stopped_as`),
and only staff lets it go again. What a charger is told of it (`status`) follows from both.
"""

from collections.abc import Mapping
from enum import StrEnum

from ohmstead.accounts.models import Token, TokenStatus


class CardStatus(StrEnum):
    """Where a card stands. A removed one that has charged is kept out of sight: it tells whose that was."""

    PENDING = "Pending"
    ACTIVE = "Active"
    BLOCKED = "Blocked"
    LOST = "Lost"
    REMOVED = "Removed"


TOLD: Mapping[CardStatus, TokenStatus] = {
    CardStatus.PENDING: TokenStatus.INVALID,
    CardStatus.ACTIVE: TokenStatus.ACCEPTED,
    CardStatus.BLOCKED: TokenStatus.BLOCKED,
    CardStatus.LOST: TokenStatus.BLOCKED,
    CardStatus.REMOVED: TokenStatus.INVALID,
}
"""What a charger is told of a card that staff has not stopped."""


def standing(card: Token) -> CardStatus:
    """Return where a card stands, whatever staff says of it."""
    return CardStatus(card.card_status or CardStatus.ACTIVE)


def shown(card: Token) -> CardStatus:
    """Return what people see of a card: one that staff has stopped is Blocked."""
    return standing(card) if card.stopped_as is None else CardStatus.BLOCKED


def stand(card: Token, status: CardStatus) -> None:
    """Move a card; staff's stop stays."""
    card.card_status = status
    _tell(card)


def stop(card: Token, status: TokenStatus) -> None:
    """Stop a card as staff does, or let it go (Accepted): then it is where its driver has it."""
    card.stopped_as = None if status is TokenStatus.ACCEPTED else status
    _tell(card)


def _tell(card: Token) -> None:
    card.status = card.stopped_as or TOLD[standing(card)]
