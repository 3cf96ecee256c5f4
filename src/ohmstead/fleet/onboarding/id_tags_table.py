"""Id tags as a table."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import and_, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts import id_tags, id_tags_queries
from ohmstead.accounts.id_tags_schemas import IdTagChange, IdTagCreate
from ohmstead.accounts.models import Token
from ohmstead.accounts.principal import Principal
from ohmstead.fleet.onboarding import cells as kinds
from ohmstead.fleet.onboarding.cells import Column
from ohmstead.fleet.onboarding.faults import Faults
from ohmstead.fleet.onboarding.sheets import Line
from ohmstead.fleet.onboarding.tables import Means, Outcome, Plan, Table, business_of, plain

COLUMNS = {
    "id_tag": Column(kinds.text),
    "status": Column(kinds.text),
    "expires_at": Column(kinds.text),
    "parent_id_tag": Column(kinds.text),
    "owner": Column(kinds.text),
    "max_concurrent_sessions": Column(kinds.whole),
    "backoffice_id": Column(kinds.identifier),
}


async def _plan(means: Means, line: Line) -> Plan:
    """An id tag is known by its text in any case, within its business, which is not changed."""
    faults = Faults(line)
    business = await business_of(means, line, faults)
    text = line.cells.get("id_tag")
    known = about = None
    if text is not None and business.known:
        there = select(Token.id).where(
            func.lower(Token.id_tag) == func.lower(text),
            Token.backoffice_id.is_not_distinct_from(business.id),
            id_tags_queries.visible_to(means.principal),
            Token.driver_id.is_(None),
        )
        query = select(func.lower(text), there.scalar_subquery())
        lowered, known = (await means.session.execute(query)).one()
        about = ("tag", lowered, str(business.id))
    wanted: IdTagCreate | IdTagChange | None
    if known is None:
        wanted = faults.wanted(IdTagCreate, line.cells)
    else:
        wanted = faults.wanted(IdTagChange, line.cells)
    write = None if wanted is None else partial(_write, means, known, wanted)
    return Plan(faults, "id_tag", about, write)


async def _write(
    means: Means, known: UUID | None, wanted: IdTagCreate | IdTagChange, outcome: Outcome
) -> None:
    if isinstance(wanted, IdTagCreate):
        await id_tags.create_id_tag(means.session, means.principal, now=means.now, **wanted.model_dump())
        outcome.created += 1
        return
    changes = wanted.model_dump(include=wanted.model_fields_set - {"id_tag", "backoffice_id"})
    await id_tags.change_id_tag(means.session, means.principal, str(known), changes=changes, now=means.now)
    outcome.changed += 1


async def _rows(
    session: AsyncSession, principal: Principal, after: str | None
) -> Sequence[Mapping[str, Any]]:
    # Not the cards of drivers: what is set of one by a table would be what staff holds against it.
    own = and_(id_tags_queries.visible_to(principal), Token.driver_id.is_(None))
    query = select(Token).where(own).order_by(Token.id)
    if after is not None:
        query = query.where(Token.id > UUID(after))
    rows = (await session.scalars(query.limit(500))).all()
    return [{"id": str(row.id), **{name: plain(getattr(row, name)) for name in COLUMNS}} for row in rows]


ID_TAGS = Table("id-tags", "id_tag", COLUMNS, _plan, _rows)
