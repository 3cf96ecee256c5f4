"""What chargers report outside of their sessions, kept as it was sent."""

from datetime import datetime
from typing import Any

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.stations.models import Charger, ChargerReport


async def keep_report(
    session: AsyncSession, charger_id: str, action: str, payload: dict[str, Any], now: datetime, **fields: Any
) -> None:
    """Keep a report, and set what it changes of the charger (`firmware_status`, `diagnostics_status`)."""
    session.add(ChargerReport(charger_id=charger_id, received_at=now, action=action, payload=payload))
    await session.flush()
    if fields:
        await session.execute(update(Charger).where(Charger.id == charger_id).values(**fields))
