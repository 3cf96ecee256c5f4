"""Reads of local lists and their rules."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, false, or_, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.models import Role
from ohmstead.accounts.principal import Principal
from ohmstead.core.errors import Invalid, NotFound
from ohmstead.core.paging import Order, Page, Paging, containing, encode_cursor, text_key, time_key, uuid_key
from ohmstead.fleet.local_lists import keeping
from ohmstead.fleet.local_lists.entries import Entries, by_tag, difference, next_version
from ohmstead.fleet.local_lists.models import LocalList, LocalListRule
from ohmstead.fleet.local_lists.schemas import (
    AcknowledgedOut,
    ChargerListOut,
    DifferenceOut,
    LastSent,
    ListEntry,
    LocalListOut,
    ReportedOut,
    RuleOut,
    WantedOut,
    info_of,
)
from ohmstead.fleet.local_lists.state import state_of
from ohmstead.fleet.local_lists.wanted import lists_of, rules_of, wanted_of
from ohmstead.stations.models import Charger

RULE_ORDER = Order(
    keys={"created_at": time_key(LocalListRule.created_at)},
    tie=uuid_key(LocalListRule.id),
    default="created_at",
)
CHARGER_ORDER = Order(keys={"id": text_key(Charger.id)}, tie=text_key(Charger.id), default="id")


def visible_to(principal: Principal) -> ColumnElement[bool]:
    """Return the condition for the rules that somebody may see: all, or those of the own business.

    An Operator sees those for all chargers of the business and for its own stations, not those of others.
    """
    if principal.role is Role.SYSTEM_ADMIN:
        return true()
    if principal.role not in {Role.BACKOFFICE, Role.OPERATOR} or principal.backoffice_id is None:
        return false()
    of_business: ColumnElement[bool] = LocalListRule.backoffice_id == principal.backoffice_id
    if principal.role is Role.BACKOFFICE:
        return of_business
    own = select(Charger.id).where(Charger.station_id.in_(principal.station_ids))
    return of_business & or_(
        LocalListRule.station_id.in_(principal.station_ids),
        LocalListRule.charger_id.in_(own),
        LocalListRule.station_id.is_(None) & LocalListRule.charger_id.is_(None),
    )


async def get_rule(
    session: AsyncSession, principal: Principal, rule_id: UUID, *, lock: bool = False
) -> LocalListRule:
    """Return a rule of the caller's scope. Raises `NotFound`."""
    query = select(LocalListRule).where(LocalListRule.id == rule_id, visible_to(principal))
    if lock:
        query = query.with_for_update()
    rule = (await session.execute(query)).scalar_one_or_none()
    if rule is None:
        raise NotFound("There is no such rule of local lists.", code="LocalListRuleNotFound")
    return rule


async def list_rules(
    session: AsyncSession,
    principal: Principal,
    paging: Paging,
    *,
    backoffice_id: UUID | None = None,
    station_id: UUID | None = None,
    charger_id: str | None = None,
) -> Page[RuleOut]:
    """Return a page of the caller's rules, the oldest first; `q` searches the ids of chargers."""
    query = select(LocalListRule).where(visible_to(principal), containing(paging.q, LocalListRule.charger_id))
    for column, asked in (
        (LocalListRule.backoffice_id, backoffice_id),
        (LocalListRule.station_id, station_id),
        (LocalListRule.charger_id, charger_id),
    ):
        if asked is not None:
            query = query.where(column == asked)
    found = await RULE_ORDER.slice(session, query, paging)
    return found.page(RuleOut.model_validate(rule) for rule in found.rows)


async def list_states(
    session: AsyncSession, principal: Principal, paging: Paging, now: datetime
) -> Page[ChargerListOut]:
    """Return a page of the caller's chargers, by id, and how their lists stand; `q` searches their ids."""
    query = principal.within(
        select(Charger).where(Charger.retired_at.is_(None), containing(paging.q, Charger.id)),
        Charger.backoffice_id,
        Charger.station_id,
    )
    found = await CHARGER_ORDER.slice(session, query, paging)
    rules = await rules_of(session, found.rows)
    lists = await lists_of(session, rules.values(), now)
    ids = [charger.id for charger in found.rows]
    rows = {
        row.charger_id: row
        for row in await session.scalars(select(LocalList).where(LocalList.charger_id.in_(ids)))
    }

    def shown(charger_id: str) -> ChargerListOut:
        rule, row = rules.get(charger_id), rows.get(charger_id)
        wanted = None if rule is None else lists[rule.id]
        return ChargerListOut(
            charger_id=charger_id,
            state=state_of(row, None if wanted is None else wanted.digest),
            rule_id=None if rule is None else rule.id,
            wanted_entries=None if wanted is None else len(wanted.entries),
            acknowledged_version=None if row is None else row.version,
            acknowledged_at=None if row is None else row.acknowledged_at,
        )

    return found.page(shown(charger_id) for charger_id in ids)


async def show_list(
    session: AsyncSession,
    charger: Charger,
    paging: Paging,
    now: datetime,
    *,
    differs: bool | None = None,
    refreshed: str | None = None,
    since: datetime | None = None,
) -> LocalListOut:
    """Return what the list of a charger should be beside what it acknowledged, tag by tag.

    What it acknowledged before `since` are the tags of whoever had it then: not shown.
    """
    wanted = await wanted_of(session, charger, now)
    row = await keeping.row_of(session, charger.id)
    should: Entries = {} if wanted is None else wanted.entries
    entries = _entries(row, since)
    has = None if entries is None else by_tag(entries)
    differing = None if wanted is None or has is None else difference(should, has)
    kinds = (
        {}
        if differing is None
        else {
            **dict.fromkeys(differing.missing, "Missing"),
            **dict.fromkeys(differing.changed, "Changed"),
            **dict.fromkeys(differing.superfluous, "Superfluous"),
        }
    )
    tags = sorted(should.keys() | (has or {}).keys())
    if paging.q is not None:
        tags = [tag for tag in tags if paging.q.lower() in tag]
    if differs is not None:
        tags = [tag for tag in tags if (tag in kinds) == differs]
    after = _after(paging)
    page = [tag for tag in tags if after is None or tag > after]
    shown = page[: paging.limit]
    items = [
        ListEntry.model_validate(
            {
                "id_tag": (should.get(tag) or (has or {})[tag])["idTag"],
                "wanted": info_of(should.get(tag)),
                "acknowledged": info_of((has or {}).get(tag)),
                "difference": kinds.get(tag),
            }
        )
        for tag in shown
    ]
    return LocalListOut(
        charger_id=charger.id,
        state=state_of(row, None if wanted is None else wanted.digest),
        wanted=None
        if wanted is None
        else WantedOut(
            rule_id=wanted.rule.id,
            keep_up_to_date=wanted.rule.keep_up_to_date,
            version=next_version(0 if row is None else row.highest_version, full=True),
            entries=len(should),
        ),
        acknowledged=_acknowledged(row, entries),
        reported=_reported(row),
        last_sent=_last_sent(row),
        difference=None
        if differing is None
        else DifferenceOut(
            missing=len(differing.missing),
            changed=len(differing.changed),
            superfluous=len(differing.superfluous),
        ),
        refreshed=refreshed,
        items=items,
        next_cursor=encode_cursor("id_tag", shown[-1]) if len(page) > len(shown) else None,
        total=len(tags),
    )


def _after(paging: Paging) -> str | None:
    """Return the folded tag behind which the page begins. Raises `Invalid` for a cursor of another list."""
    if paging.after is None:
        return None
    if len(paging.after) != 2 or paging.after[0] != "id_tag" or not isinstance(paging.after[1], str):
        raise Invalid(
            "The cursor is not one of this list. Leave it out to begin at the first page.",
            fields={"cursor": "not a cursor of this list"},
        )
    return paging.after[1]


def _entries(row: LocalList | None, since: datetime | None) -> list[Any] | None:
    """Return what a charger acknowledged, as far as it is known and to be seen."""
    if row is None or row.acknowledged_at is None or (since is not None and row.acknowledged_at < since):
        return None
    return row.entries


def _acknowledged(row: LocalList | None, entries: list[Any] | None) -> AcknowledgedOut | None:
    if row is None or row.version is None or row.acknowledged_at is None:
        return None
    number = None if entries is None else len(entries)
    return AcknowledgedOut(version=row.version, entries=number, at=row.acknowledged_at)


def _reported(row: LocalList | None) -> ReportedOut | None:
    if row is None or row.reported_version is None or row.reported_at is None:
        return None
    return ReportedOut(version=row.reported_version, at=row.reported_at, agrees=not keeping.contradicted(row))


def _last_sent(row: LocalList | None) -> LastSent | None:
    if row is None or row.ending is None:
        return None
    return LastSent.model_validate({"status": row.ending, "detail": row.detail, "at": row.ended_at})
