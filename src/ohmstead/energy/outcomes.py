"""What commands about charging profiles come to, whoever sent them."""

from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.energy import service
from ohmstead.stations.outcomes import Outcomes, Told


def register(outcomes: Outcomes) -> None:
    """Put the hooks of the charging profiles in."""
    outcomes.after["SetChargingProfile"].append(after_set)
    outcomes.after["ClearChargingProfile"].append(after_clear)
    outcomes.after["RemoteStartTransaction"].append(after_remote_start)


def _word(told: Told) -> str | None:
    """Return the charger's own word; None when it gave none."""
    if told.answer is None or told.answer.response is None:
        return None
    return told.answer.status


async def after_set(session: AsyncSession, told: Told) -> None:
    """Keep a profile that the charger has accepted; one that it refused changes nothing."""
    if _word(told) == "Accepted":
        profile = told.payload["csChargingProfiles"]
        await service.installed(session, told.charger_id, told.payload["connectorId"], profile, told.now)


async def after_clear(session: AsyncSession, told: Told) -> None:
    """Forget what the charger has cleared, and also what it says that it does not have (`Unknown`)."""
    if _word(told) in {"Accepted", "Unknown"}:
        await service.cleared(session, told.charger_id, told.payload)


async def after_remote_start(session: AsyncSession, told: Told) -> None:
    """Keep the TxProfile of a remote start that the charger has accepted."""
    profile = told.payload.get("chargingProfile")
    if profile is not None and _word(told) == "Accepted":
        connector_id = told.payload.get("connectorId")
        await service.installed(session, told.charger_id, connector_id, profile, told.now)
