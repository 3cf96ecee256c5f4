"""Which tags the lists of chargers should hold: their rules, and the tags that these name."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.authorization import STATUS
from ohmstead.accounts.models import Token, TokenStatus, User, UserStatus
from ohmstead.accounts.personal_data_standing import being_erased
from ohmstead.fleet.local_lists.entries import Entries, KnownTag, Which, digest, fold, wanted_entries
from ohmstead.fleet.local_lists.models import LocalListRule


class Placed(Protocol):
    """A charger, and whose it is."""

    @property
    def id(self) -> str:
        """Its OCPP identity."""

    @property
    def backoffice_id(self) -> UUID | None:
        """Its business."""

    @property
    def station_id(self) -> UUID | None:
        """Its station."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The list that a rule makes at this moment."""

    rule: LocalListRule
    entries: Entries
    digest: str


def which_of(tags: dict[str, Any]) -> Which:
    """Return what the `tags` of a rule say."""
    return Which(
        all=tags.get("all", False),
        everywhere=tags.get("everywhere", True),
        statuses=frozenset(tags.get("statuses", ())),
        parents=frozenset(fold(one) for one in tags.get("parents", ())),
        owner_prefixes=tuple(fold(one) for one in tags.get("owner_prefixes", ())),
        id_tags=frozenset(fold(one) for one in tags.get("id_tags", ())),
    )


async def rules_of(session: AsyncSession, chargers: Collection[Placed]) -> dict[str, LocalListRule]:
    """Return the rule of each charger that has one: the closest, of the charger's own business."""
    businesses = {charger.backoffice_id for charger in chargers if charger.backoffice_id is not None}
    stations = {charger.station_id for charger in chargers if charger.station_id is not None}
    if not businesses:
        return {}
    query = select(LocalListRule).where(
        LocalListRule.backoffice_id.in_(businesses),
        or_(LocalListRule.station_id.is_(None), LocalListRule.station_id.in_(stations)),
        or_(
            LocalListRule.charger_id.is_(None),
            LocalListRule.charger_id.in_([charger.id for charger in chargers]),
        ),
    )
    rules = {
        (rule.backoffice_id, rule.station_id, rule.charger_id): rule for rule in await session.scalars(query)
    }
    found: dict[str, LocalListRule] = {}
    for charger in chargers:
        if charger.backoffice_id is None:
            continue
        closest = [
            (charger.backoffice_id, None, charger.id),
            (charger.backoffice_id, charger.station_id, None),
            (charger.backoffice_id, None, None),
        ]
        rule = next((rules[scope] for scope in closest if scope in rules), None)
        if rule is not None:
            found[charger.id] = rule
    return found


async def lists_of(
    session: AsyncSession, rules: Collection[LocalListRule], now: datetime
) -> dict[UUID, Wanted]:
    """Return the list that each rule makes, by the id of the rule."""
    different = {rule.id: rule for rule in rules}
    tags = await _tags_of(session, {rule.backoffice_id for rule in different.values()})
    lists: dict[UUID, Wanted] = {}
    for rule in different.values():
        entries = wanted_entries(tags[rule.backoffice_id], which_of(rule.tags), now)
        lists[rule.id] = Wanted(rule, entries, digest(entries))
    return lists


async def wanted_of(session: AsyncSession, charger: Placed, now: datetime) -> Wanted | None:
    """Return the list that a charger should have; None for one without a rule."""
    rule = (await rules_of(session, [charger])).get(charger.id)
    return None if rule is None else (await lists_of(session, [rule], now))[rule.id]


async def _tags_of(session: AsyncSession, businesses: set[UUID]) -> dict[UUID, list[KnownTag]]:
    """Return the tags that work at the chargers of some businesses: their own, and those for everywhere.

    Without the cards of who is being erased: chargers are to forget them.
    """
    query = select(
        Token.backoffice_id,
        Token.id_tag,
        STATUS.label("status"),
        Token.expires_at,
        Token.parent_id_tag,
        Token.owner,
    )
    query = query.outerjoin(User, User.id == Token.driver_id).where(
        or_(Token.backoffice_id.in_(businesses), Token.backoffice_id.is_(None)),
        or_(User.id.is_(None), User.status == UserStatus.ACTIVE, ~being_erased(User.id)),
    )
    own: dict[UUID, list[KnownTag]] = defaultdict(list)
    everywhere: list[KnownTag] = []
    for row in await session.execute(query):
        tag = KnownTag(
            id_tag=row.id_tag,
            status=TokenStatus(row.status),
            expires_at=row.expires_at,
            parent_id_tag=row.parent_id_tag,
            owner=row.owner,
            own=row.backoffice_id is not None,
        )
        (everywhere if row.backoffice_id is None else own[row.backoffice_id]).append(tag)
    return {business: [*everywhere, *own[business]] for business in businesses}
