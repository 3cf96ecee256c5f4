"""Reads of what is known of the configuration of chargers."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.core.errors import Invalid
from ohmstead.core.paging import Order, Page, Paging, encode_cursor, number_key
from ohmstead.fleet.configuration import keeping
from ohmstead.fleet.configuration.keys import KeyState, overall, state_of, tries_of
from ohmstead.fleet.configuration.models import ConfigurationChange, ConfigurationKey, ConfigurationTurn
from ohmstead.fleet.configuration.schemas import (
    ChangeOut,
    ConfigurationOut,
    KeyOut,
    LastChange,
    Refreshed,
    Standing,
    TemplateName,
)
from ohmstead.fleet.configuration.wanted import Wanted
from ohmstead.stations.models import Charger

CHANGE_ORDER = Order(
    keys={"id": number_key(ConfigurationChange.id)}, tie=number_key(ConfigurationChange.id), default="-id"
)


async def show_configuration(
    session: AsyncSession,
    charger: Charger,
    wanted: Wanted,
    paging: Paging,
    *,
    now: datetime,
    differing: bool | None = None,
    refreshed: Refreshed | None = None,
) -> ConfigurationOut:
    """Return a page of the keys of a charger, by name, beside what is wanted of them.

    A key that is wanted and was never heard of is among them. `q` searches the names; `differing` keeps
    those that differ from what is wanted, or the others.
    """
    rows = await keeping.rows_of(session, charger.id)  # there are `KEYS_MAX` of them at most
    every = {
        folded: _shown(rows.get(folded), wanted.keys.get(folded), charger, now)
        for folded in sorted(rows.keys() | wanted.keys.keys())
    }
    shown = {
        folded: key
        for folded, key in every.items()
        if (paging.q is None or paging.q.casefold() in folded)
        and (differing is None or key.differs == differing)
    }
    page, next_cursor = _page(list(shown), paging)
    return ConfigurationOut(
        items=[shown[folded] for folded in page],
        next_cursor=next_cursor,
        total=len(shown),
        charger_id=charger.id,
        template=await _standing(session, charger, wanted, list(every.values())),
        refreshed=refreshed,
    )


def _page(names: list[str], paging: Paging) -> tuple[list[str], str | None]:
    """Return the names of a page, and the cursor of the next one."""
    if paging.after is not None:
        match paging.after:
            case [str(last)]:
                names = [name for name in names if name > last]
            case _:
                raise Invalid(
                    "The cursor is not one of this list. Leave it out to begin at the first page.",
                    fields={"cursor": "not a cursor of this list"},
                )
    page = names[: paging.limit]
    return page, encode_cursor(page[-1]) if len(names) > len(page) else None


def _shown(
    row: ConfigurationKey | None, wanted: tuple[str, str] | None, charger: Charger, now: datetime
) -> KeyOut:
    state = None if wanted is None else state_of(row, wanted[1], booted_at=charger.last_boot_at, now=now)
    last = None
    if row is not None and row.asked_at is not None and row.asked_status is not None:
        last = LastChange(value=row.asked_value, status=row.asked_status, at=row.asked_at)
    return KeyOut(
        key=row.key if row is not None else wanted[0] if wanted is not None else "",
        value=row.value if row is not None else None,
        readonly=row.readonly if row is not None else None,
        supported=row.supported if row is not None else True,
        read_at=row.read_at if row is not None else None,
        read_by=row.read_by if row is not None else None,
        wanted=None if wanted is None else wanted[1],
        differs=state not in {None, KeyState.SAME},
        state=state,
        tries=0 if wanted is None else tries_of(row, wanted[1], now),
        last_change=last,
    )


async def _standing(
    session: AsyncSession, charger: Charger, wanted: Wanted, keys: Sequence[KeyOut]
) -> Standing | None:
    if not wanted.templates:
        return None
    query = select(ConfigurationTurn).where(ConfigurationTurn.charger_id == charger.id)
    turn = (await session.execute(query.execution_options(populate_existing=True))).scalar_one_or_none()
    return Standing.model_validate(
        {
            "templates": [TemplateName.model_validate(template) for template in wanted.templates],
            "state": overall([key.state for key in keys if key.state is not None]),
            "due_at": turn.due_at if turn is not None else None,
            "ending": turn.ending if turn is not None else None,
            "detail": turn.detail if turn is not None else None,
            "ended_at": turn.ended_at if turn is not None else None,
        }
    )


async def list_changes(
    session: AsyncSession,
    charger_id: str,
    paging: Paging,
    *,
    key: str | None = None,
    since: datetime | None = None,
) -> Page[ChangeOut]:
    """Return a page of the changes of a charger's configuration, the newest first; `key` in any case.

    With `since` only those from then on.
    """
    query = select(ConfigurationChange).where(ConfigurationChange.charger_id == charger_id)
    if since is not None:
        query = query.where(ConfigurationChange.at >= since)
    if key is not None:
        query = query.where(func.lower(ConfigurationChange.key) == func.lower(key))
    found = await CHANGE_ORDER.slice(session, query, paging)
    return found.page(ChangeOut.model_validate(row) for row in found.rows)
