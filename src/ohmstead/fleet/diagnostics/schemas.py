"""What goes in and out about diagnostics and logs."""

from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import Field, model_validator

from ohmstead.core.http import Schema, UtcTime
from ohmstead.core.times import MomentIn
from ohmstead.fleet.diagnostics.models import DiagnosticsKind, DiagnosticsState
from ohmstead.fleet.locations import Location

Retries = Annotated[int, Field(ge=0, le=100)]
RetrySeconds = Annotated[int, Field(ge=0, le=604_800)]
Hours = Annotated[int, Field(ge=1, le=8784)]


class DiagnosticsIn(Schema):
    """What a charger shall bring; all may be left out: then all that it has comes to us."""

    location: Location | None = Field(
        None,
        description="An address outside (ftp, ftps, sftp, http, https), where a charger needs one.",
    )
    since: MomentIn | None = Field(None, description="Nothing older than this.")
    until: MomentIn | None = Field(None, description="Nothing later than this.")
    retries: Retries | None = Field(None, description="How often a failed upload is tried again.")
    retry_interval: RetrySeconds | None = Field(None, description="Seconds between these.")
    give_up_hours: Hours | None = Field(
        None, description="Without a word of the charger for so long it is over; else as the server is set."
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.since is not None and self.until is not None and self.since > self.until:
            raise ValueError("`since` lies after `until`: swap them")
        return self


class LogIn(DiagnosticsIn):
    """A log that a charger shall bring."""

    log_type: Literal["DiagnosticsLog", "SecurityLog"]


class DiagnosticsWork(DiagnosticsIn):
    """What the chargers of a campaign shall bring."""

    kind: DiagnosticsKind = Field(
        DiagnosticsKind.DIAGNOSTICS, description="`Diagnostics` by GetDiagnostics, the logs by GetLog."
    )


class DiagnosticsOut(Schema):
    """A file that a charger was asked for.

    `status` is the last word of the charger, `file_name` what it calls the file. `received` says whether
    the file is here to be fetched; it goes after some time, and `size` and `sha256` stay.
    """

    id: UUID
    charger_id: str
    kind: DiagnosticsKind
    request_id: int | None
    location: str | None = Field(description="An address outside, without its password.")
    since: UtcTime | None
    until: UtcTime | None
    retries: int | None
    retry_interval: int | None
    state: DiagnosticsState
    status: str | None
    detail: str
    file_name: str | None
    received: bool
    size: int | None
    sha256: str | None
    by_campaign: bool
    created_at: UtcTime
    updated_at: UtcTime
    received_at: UtcTime | None
    deadline_at: UtcTime = Field(description="When it expires if nothing more is heard.")
    ended_at: UtcTime | None


class DiagnosticsEventOut(Schema):
    """A word of the charger about a job, or one of ours. `times` it was said, last at `last_at`."""

    id: int
    at: UtcTime
    last_at: UtcTime
    status: str
    detail: str
    times: int


class Taken(Schema):
    """What arrived."""

    size: int = Field(description="In bytes.")
    sha256: str
