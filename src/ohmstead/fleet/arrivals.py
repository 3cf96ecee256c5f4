"""What has waited for a charger, when it comes: called by the gateway, so each look is a cheap one."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.fleet.campaigns import service as campaigns
from ohmstead.fleet.configuration import applying as configuration
from ohmstead.fleet.configuration.wanted import Placed
from ohmstead.fleet.firmware import telling as firmware
from ohmstead.stations import adoption


async def connected(session: AsyncSession, charger_id: str, now: datetime) -> None:
    """Wake the work that waits for a charger which has connected.

    Called when the gateway's look-up said that there is some, after its presence is written.
    """
    await campaigns.wake(session, charger_id, now)
    await adoption.connected(session, charger_id, now)


async def booted(session: AsyncSession, charger: Placed, now: datetime) -> int | None:
    """See to a charger whose boot is accepted, in the transaction of its boot.

    Returns the heartbeat interval in seconds that it should be told, None for the server's own.
    """
    await firmware.booted(session, charger.id, now)
    return await configuration.booted(session, charger, now)
