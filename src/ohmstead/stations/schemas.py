"""Stations as they come in and go out over HTTP."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import Field, StrictFloat, StringConstraints, field_serializer

from ohmstead.core.http import Schema, UtcTime
from ohmstead.core.text import Text
from ohmstead.core.time_zones import TimeZone
from ohmstead.stations.models import StationStatus
from ohmstead.stations.opening_hours import OpeningHours
from ohmstead.stations.texts import Amenities, Country, WebAddress, unset

Name = Annotated[Text, StringConstraints(min_length=1, max_length=200)]
Latitude = Annotated[StrictFloat, Field(ge=-90, le=90, allow_inf_nan=False, description="Degrees, WGS 84.")]
Longitude = Annotated[
    StrictFloat, Field(ge=-180, le=180, allow_inf_nan=False, description="Degrees, WGS 84.")
]


class _Place(Schema):
    """What may be null in a station."""

    address: Annotated[Text, StringConstraints(max_length=300)] | None = None
    city: Annotated[Text, StringConstraints(max_length=120)] | None = None
    country: Country | None = None
    latitude: Latitude | None = None
    longitude: Longitude | None = None
    photo_url: WebAddress | None = None
    opening_hours: OpeningHours | None = None
    support_phone: Annotated[Text, StringConstraints(max_length=40)] | None = None

    @field_serializer("opening_hours")
    def _only_what_was_said(self, hours: OpeningHours | None) -> dict[str, Any] | None:
        return None if hours is None else hours.model_dump(exclude_none=True)


class StationIn(_Place):
    """A new station: only `name` is needed."""

    name: Name
    time_zone: TimeZone = "UTC"
    amenities: Amenities = []
    status: StationStatus = StationStatus.ACTIVE
    backoffice_id: UUID | None = Field(
        None, description="The business. Needed from a SystemAdmin when there is more than one."
    )


class StationChange(_Place):
    """What is left out stays; null clears what may be null."""

    name: Name = unset()
    time_zone: TimeZone = unset()
    amenities: Amenities = unset()
    status: StationStatus = unset()
    backoffice_id: UUID = unset(description="Only a SystemAdmin may change it; the chargers move along.")


class StationOut(Schema):
    """A station. `chargers` counts the real ones that are not retired, `online_chargers` those of them that
    are connected; simulated chargers are counted apart.
    """

    id: UUID
    name: str
    address: str | None
    city: str | None
    country: str | None
    latitude: float | None
    longitude: float | None
    time_zone: str
    amenities: list[str]
    photo_url: str | None
    opening_hours: dict[str, Any] | None
    support_phone: str | None
    backoffice_id: UUID
    status: StationStatus
    chargers: int
    online_chargers: int
    simulated_chargers: int
    online_simulated_chargers: int
    created_at: UtcTime
    updated_at: UtcTime
