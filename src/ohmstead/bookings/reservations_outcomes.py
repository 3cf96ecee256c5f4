"""What reservations make of ReserveNow and CancelReservation, whoever sent them."""

from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.bookings import reservations
from ohmstead.bookings.reservations_models import ReservationStatus
from ohmstead.core.errors import Invalid
from ohmstead.link.links import Answer
from ohmstead.ocpp.timestamps import parse_timestamp
from ohmstead.stations.models import Charger
from ohmstead.stations.outcomes import Asked, Outcomes, Told

RESERVE, CANCEL = "ReserveNow", "CancelReservation"
WORDS = {
    word: ReservationStatus(word) for word in ("Accepted", "Rejected", "Occupied", "Faulted", "Unavailable")
}
"""OCPP 1.6 7.40 ReservationStatus."""
MAY_HOLD = "The charger may hold it all the same: cancel it, or wait for its end."


def register(outcomes: Outcomes) -> None:
    """Put the hooks of reservations in."""
    outcomes.before[RESERVE].append(before_reserve)
    outcomes.after[RESERVE].append(after_reserve)
    outcomes.after[CANCEL].append(after_cancel)


async def before_reserve(session: AsyncSession, asked: Asked) -> None:
    """Write the reservation before the charger is asked.

    Raises `Invalid` for one that cannot be kept, `Conflict` while the charger is asked for the same number.
    """
    wanted = _wanted(asked.payload)
    parent = asked.payload.get("parentIdTag")
    if parent is not None and "\0" in parent:
        raise _not_kept("parentIdTag", "must not contain the NUL character")
    query = select(Charger.id).where(Charger.id == asked.charger_id).with_for_update(key_share=True)
    if await session.scalar(query) is not None:
        await reservations.asked(session, asked.charger_id, parent_id_tag=parent, now=asked.now, **wanted)


async def after_reserve(session: AsyncSession, told: Told) -> None:
    """Write what the charger said, or that it said nothing."""
    row = await reservations.pending(session, told.charger_id, **_wanted(told.payload))
    if row is not None:
        status, detail, uncertain = outcome_of(told.answer)
        await reservations.answered(session, row, status, detail=detail, uncertain=uncertain, now=told.now)


async def after_cancel(session: AsyncSession, told: Told) -> None:
    """End the reservation when the charger has accepted to cancel it."""
    number = told.payload["reservationId"]
    if told.answer is None or told.answer.response is None or abs(number) >= 2**63:
        return
    if told.answer.response.get("status") == "Accepted":
        await reservations.cancelled(session, told.charger_id, int(number), told.now)
    elif told.answer.response.get("status") == "Rejected":
        await reservations.not_held(session, told.charger_id, int(number), told.now)


def outcome_of(answer: Answer | None) -> tuple[ReservationStatus, str, bool]:
    """Return the status, its reason, and whether the charger may hold the reservation all the same."""
    if answer is None:
        return ReservationStatus.FAILED, f"The charger was away or too busy to answer. {MAY_HOLD}", True
    if answer.response is not None:
        word = answer.response.get("status")
        if isinstance(word, str) and word in WORDS:
            return WORDS[word], "", False
    if answer.response is not None or answer.unusable is not None:
        return ReservationStatus.FAILED, f"The charger's answer is none of OCPP 1.6. {MAY_HOLD}", True
    if answer.error_code is not None:
        why = f": {answer.error_description}" if answer.error_description else ""
        detail = f"The charger answered with the error {answer.error_code or '(none)'}{why}".replace(
            "\0", "?"
        )
        return ReservationStatus.FAILED, detail[:500], False
    return ReservationStatus.FAILED, f"The charger did not answer in time. {MAY_HOLD}", True


def _wanted(payload: dict[str, Any]) -> dict[str, Any]:
    """Return what a ReserveNow says, as it is kept. Raises `Invalid` for what the database cannot hold."""
    numbers: dict[str, int] = {}
    for column, name in (("reservation_id", "reservationId"), ("connector_id", "connectorId")):
        number = payload[name]
        if abs(number) >= 2**63:
            raise _not_kept(name, "must be an integer of 32 bits")
        numbers[column] = int(number)
    if "\0" in payload["idTag"]:
        raise _not_kept("idTag", "must not contain the NUL character")
    expires_at: datetime = parse_timestamp(payload["expiryDate"])
    return {**numbers, "id_tag": payload["idTag"], "expires_at": expires_at}


def _not_kept(name: str, fault: str) -> Invalid:
    return Invalid(
        f"The reservation cannot be kept: {name} {fault}. Nothing was sent.",
        code="PayloadInvalid",
        fields={name: fault},
    )
