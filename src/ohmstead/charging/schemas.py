"""What the admin API says of sessions (`transactions` there) and takes for them."""

from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field, PlainSerializer

from ohmstead.core.http import Schema, UtcTime
from ohmstead.core.text import Text

Number = Annotated[Decimal, PlainSerializer(float, return_type=float, when_used="json")]
"""A decimal that leaves as a JSON number."""


class TransactionOut(Schema):
    """A session. Registers and energy in Wh; `unmatched` is a stop that fits no session of its charger."""

    id: UUID
    ocpp_transaction_id: int | None
    charger_id: str
    connector_id: int | None
    station_id: UUID | None
    backoffice_id: UUID | None
    id_tag: str | None
    id_tag_status: str | None
    status: str
    started_at: UtcTime | None
    stopped_at: UtcTime | None
    meter_start: int | None
    meter_stop: int | None
    energy_wh: Number | None
    stop_reason: str | None
    unmatched: bool
    power_w: float | None
    soc_percent: float | None
    last_sample_at: UtcTime | None
    anomalies: list[Any]
    closed_by: str | None
    simulated: bool


class TransactionDetail(TransactionOut):
    """One session with all that is kept of it; `raw` is the StopTransaction as the charger sent it."""

    reservation_id: int | None
    stop_id_tag: str | None
    received_at: UtcTime
    closed_at: UtcTime | None
    raw: dict[str, Any] | None


class SampledValueOut(BaseModel):
    """One sampled value with what OCPP 1.6 7.43 leaves out filled in, in Wh, W, A, V or percent.

    `value` is null if it is no number: signed data is in `sampled_values` only.
    """

    measurand: str
    value: Number | None
    unit: str | None
    phase: str | None
    location: str | None
    context: str | None


class MeterValueOut(BaseModel):
    """One moment of a session: `sampled_values` as the charger sent them, and what was read from them."""

    sampled_at: UtcTime
    received_at: UtcTime
    connector_id: int
    register_wh: Number | None
    power_w: float | None
    soc_percent: float | None
    sampled_values: list[dict[str, Any]]
    values: list[SampledValueOut]


class PlotPoint(BaseModel):
    """The last known values of one bucket; `at` is the time of its last sample."""

    at: UtcTime
    register_wh: Number | None
    energy_wh: Number | None
    power_w: float | None
    soc_percent: float | None


class Plot(BaseModel):
    """A session thinned out for a plot; `samples` were stored, each point stands for `bucket_seconds`."""

    points: list[PlotPoint]
    bucket_seconds: float
    samples: int


class ForceStop(Schema):
    """Why an operator ends a session; kept as its `stop_reason` when it is closed locally."""

    reason: Annotated[Text, Field(min_length=1, max_length=40)] = "ForceStopped"


class ForceStopped(BaseModel):
    """How it ended: `Accepted` (the charger will send its stop; ask again if it does not), `ClosedLocally`,
    or `Completed` when its stop came meanwhile. `answer` is the charger's own word, `Timeout`, `CallError`,
    `Busy` or `Offline`.
    """

    status: Literal["Accepted", "ClosedLocally", "Completed"]
    answer: str
    transaction: TransactionDetail
