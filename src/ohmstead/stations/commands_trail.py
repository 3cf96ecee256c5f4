"""What the audit trail says of commands: who asked which charger for what, and what the charger said."""

from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.audit import record
from ohmstead.accounts.id_tags import person_of
from ohmstead.accounts.models import Token
from ohmstead.link.links import Answer
from ohmstead.ocpp.masking import mask
from ohmstead.stations.models import Charger

CHANGE_NOTHING = frozenset({"GetConfiguration", "GetLocalListVersion", "GetCompositeSchedule"})
"""These only ask: the log of messages has them, the trail does not."""
TEXT_AT_MOST = 200
ITEMS_AT_MOST = 20
NOT_ANSWERED = "NotAnswered"


async def recorded(
    session: AsyncSession, charger_id: str, action: str, payload: dict[str, Any], answer: Answer | None
) -> None:
    """Write the entry of a command and its answer; None is that it was not sent, or the charger left."""
    place = (
        await session.execute(
            select(Charger.backoffice_id, Charger.station_id).where(Charger.id == charger_id)
        )
    ).one_or_none()
    business = None if place is None else place.backoffice_id
    after: dict[str, Any] = {"payload": shown(action, payload), "answer": NOT_ANSWERED}
    if answer is not None:
        after["answer"] = answer.status
        if answer.error_code is not None:
            after["error"] = answer.error_code
    tag = payload.get("idTag")
    person = await _whose(session, tag, business) if isinstance(tag, str) else None
    await record(
        session,
        f"charger.command.{action}",
        entity="charger",
        entity_id=charger_id,
        after=after,
        person_id=person,
        personal={"id_tag": tag} if person is not None else None,
        backoffice_id=business,
        station_id=None if place is None else place.station_id,
    )


def shown(action: str, payload: dict[str, Any]) -> dict[str, Any]:
    """Return a payload as the trail keeps it: without secrets, long texts and long lists cut short."""
    masked: dict[str, Any] = orjson.loads(mask(action, orjson.dumps(payload).decode()))
    return {name: _short(value) for name, value in masked.items()}


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _short(one) for name, one in value.items()}
    if isinstance(value, list):
        return f"{len(value)} items" if len(value) > ITEMS_AT_MOST else [_short(one) for one in value]
    return value[:TEXT_AT_MOST].replace("\0", "") if isinstance(value, str) else value


async def _whose(session: AsyncSession, tag: str, backoffice_id: UUID | None) -> UUID | None:
    """Return the person of a tag that works at a business; None when nobody knows it."""
    if "\0" in tag:
        return None
    found = await session.scalar(
        select(Token)
        .where(
            func.lower(Token.id_tag) == tag.lower(),
            or_(Token.backoffice_id == backoffice_id, Token.backoffice_id.is_(None)),
        )
        .order_by(Token.backoffice_id.is_(None))
        .limit(1)
    )
    return None if found is None else person_of(found)
