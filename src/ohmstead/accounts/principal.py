"""Who is asking, and what it may see: rights come from the user's row, never from the token alone."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVarTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, false, true

from ohmstead.accounts.models import Role
from ohmstead.core.live import Scope

Row = TypeVarTuple("Row")


class Debt(StrEnum):
    """What a user has to do before anything else; the code of the refusal until then."""

    PASSWORD = "MustChangePassword"  # noqa: S105 # a code, no secret
    SECOND_FACTOR = "SecondFactorMissing"


@dataclass(frozen=True, slots=True)
class Principal:
    """The signed-in user as its row says now.

    A SystemAdmin has no business and sees all; a Backoffice its business; an Operator the stations
    `station_ids` of its business; an EvOwner only itself. `session_id` is the session that its token was
    given in, if any. With a `debt` it may do nothing but pay it. A machine with an API key is one too: its id
    is that of the key, and `key_permissions` are the only ones that it has of those of its role. Only a
    driver can be here and not `active`.
    """

    user_id: UUID
    email: str
    role: Role
    backoffice_id: UUID | None = None
    station_ids: frozenset[UUID] = frozenset()
    session_id: UUID | None = None
    debt: Debt | None = None
    active: bool = True
    key_permissions: frozenset[str] | None = None

    @property
    def scope(self) -> Scope:
        """What this user may see live."""
        if self.role is Role.SYSTEM_ADMIN:
            return Scope(everything=True)
        if self.role is Role.BACKOFFICE:
            return Scope(backoffice_id=self.backoffice_id)
        if self.role is Role.OPERATOR:
            return Scope(backoffice_id=self.backoffice_id, station_ids=self.station_ids)
        return Scope()

    def owns(self, backoffice: Any, station: Any) -> ColumnElement[bool]:
        """Return the condition that keeps a query within this user's scope.

        `backoffice` and `station` are the columns of the row that say whose it is.
        """
        if self.role is Role.SYSTEM_ADMIN:
            return true()
        if self.role is Role.BACKOFFICE and self.backoffice_id is not None:
            owned: ColumnElement[bool] = backoffice == self.backoffice_id
            return owned
        if self.role is Role.OPERATOR and self.backoffice_id is not None:
            within: ColumnElement[bool] = (backoffice == self.backoffice_id) & station.in_(self.station_ids)
            return within
        return false()

    def within(self, query: Select[*Row], backoffice: Any, station: Any) -> Select[*Row]:
        """Return the query narrowed to this user's scope."""
        return query.where(self.owns(backoffice, station))
