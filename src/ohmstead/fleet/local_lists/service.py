"""Writes of the rules of local lists. Nothing is sent by them, unless a rule keeps lists up to date."""

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.audit import record_row, state
from ohmstead.accounts.constraints import refusing
from ohmstead.accounts.principal import Principal
from ohmstead.core.errors import Conflict, DomainError, Invalid
from ohmstead.fleet.local_lists.models import LocalListRule
from ohmstead.fleet.local_lists.queries import get_rule
from ohmstead.fleet.local_lists.schemas import RuleChange, RuleIn
from ohmstead.stations.models import Charger, Station
from ohmstead.stations.service import owner_of_new


async def create_rule(
    session: AsyncSession, principal: Principal, now: datetime, wanted: RuleIn
) -> LocalListRule:
    """Create a rule. Raises `Conflict` where the charger, station or business has one, and `Invalid`."""
    rule = LocalListRule(
        id=uuid4(),
        backoffice_id=await _business(session, principal, wanted),
        station_id=wanted.station_id,
        charger_id=wanted.charger_id,
        tags=wanted.tags.model_dump(mode="json"),
        keep_up_to_date=wanted.keep_up_to_date,
        created_at=now,
        updated_at=now,
    )
    async with refusing(session, _refusals()):
        session.add(rule)
    await record_row(session, "local_list_rule.created", rule)
    return rule


async def change_rule(
    session: AsyncSession, principal: Principal, now: datetime, rule_id: UUID, change: RuleChange
) -> LocalListRule:
    """Change what is given of a rule and keep the rest. Raises `NotFound`."""
    rule = await get_rule(session, principal, rule_id, lock=True)
    before = state(rule)
    if change.tags is not None:
        rule.tags = change.tags.model_dump(mode="json")
    if change.keep_up_to_date is not None:
        rule.keep_up_to_date = change.keep_up_to_date
    rule.updated_at = now
    await session.flush()
    await record_row(session, "local_list_rule.updated", rule, before)
    return rule


async def delete_rule(session: AsyncSession, principal: Principal, rule_id: UUID) -> None:
    """Delete a rule. Chargers keep the lists that they have. Raises `NotFound`."""
    rule = await get_rule(session, principal, rule_id, lock=True)
    await record_row(session, "local_list_rule.deleted", rule, gone=True)
    await session.delete(rule)
    await session.flush()


async def _business(session: AsyncSession, principal: Principal, wanted: RuleIn) -> UUID:
    """Return whose the rule is. Raises `Invalid` for a charger or station that is not this business's."""
    if wanted.charger_id is None and wanted.station_id is None:
        business = await owner_of_new(session, principal, wanted.backoffice_id)
        if business is None:
            raise Invalid(
                "There are several businesses: name the one that the rule is for by `backoffice_id`.",
                fields={"backoffice_id": "is needed"},
            )
        return business
    if wanted.charger_id is not None:
        name, query = "charger_id", select(Charger.backoffice_id).where(Charger.id == wanted.charger_id)
        query = principal.within(query, Charger.backoffice_id, Charger.station_id)
    else:
        name, query = "station_id", select(Station.backoffice_id).where(Station.id == wanted.station_id)
        query = principal.within(query, Station.backoffice_id, Station.id)
    business = await session.scalar(query)
    if business is None or wanted.backoffice_id not in {None, business}:
        what = "charger" if name == "charger_id" else "station"
        raise Invalid(f"The business has no such {what}.", fields={name: "unknown, or of no business"})
    return business


def _refusals() -> dict[str, DomainError]:
    return {
        "uq_fleet_local_list_rule_scope": Conflict(
            "There is a rule for this already. Change that one.", code="LocalListRuleExists"
        ),
        "fk_fleet_local_list_rule_backoffice_id": Invalid(
            "There is no such business.", fields={"backoffice_id": "unknown"}
        ),
        "fk_fleet_local_list_rule_station_id": Invalid(
            "There is no such station.", fields={"station_id": "unknown"}
        ),
        "fk_fleet_local_list_rule_charger_id": Invalid(
            "There is no such charger.", fields={"charger_id": "unknown"}
        ),
    }
