"""Reservations as they come in and go out over HTTP."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, Field, StrictInt, StringConstraints

from ohmstead.accounts.id_tags_schemas import printable
from ohmstead.bookings.reservations_models import ReservationStatus
from ohmstead.core.http import Schema, UtcTime
from ohmstead.core.times import MomentIn
from ohmstead.stations.commands_schemas import CommandAnswer, ConnectorNumber

Tag = Annotated[str, StringConstraints(min_length=1, max_length=20), AfterValidator(printable)]


class ReserveIn(Schema):
    """OCPP 1.6 5.13 ReserveNow."""

    connector_id: ConnectorNumber = Field(description="0: any connector, where the charger can do that.")
    id_tag: Tag
    expires_at: MomentIn = Field(description="Until when it is kept: a time in the future.")
    parent_id_tag: Tag | None = Field(None, description="Also tags with this parent may use it.")
    reservation_id: Annotated[StrictInt, Field(ge=1, le=2**31 - 1)] | None = Field(
        None, description="Left out: a free one. The id of one that is there replaces it."
    )


class ReservationOut(Schema):
    """A reservation. `reservation_id` is the number on the wire, `session_id` the session that used it.

    `uncertain`: the charger may hold it though it did not say so. `notes`: what was odd.
    """

    id: UUID
    reservation_id: int
    charger_id: str
    connector_id: int
    id_tag: str
    parent_id_tag: str | None
    expires_at: UtcTime
    status: ReservationStatus
    detail: str
    uncertain: bool
    created_at: UtcTime
    answered_at: UtcTime | None
    ended_at: UtcTime | None
    session_id: UUID | None
    notes: list[dict[str, Any]]


class Reserved(CommandAnswer):
    """What the charger answered, and the reservation as it is kept."""

    reservation_id: int
    reservation: ReservationOut | None = None
