"""Meter values: rows of the partitioned table, and the running figures of open sessions.

A value lands where its own timestamp says. Sent twice it is one row: the digest is over what was
sampled. The transaction id is the one sent, or that of the session open on the connector when the
charger left it out.
"""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from hashlib import blake2b
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from ohmstead.charging.anomalies import Note, as_notes, lasting
from ohmstead.charging.clocks import latest_time
from ohmstead.charging.energy import DEFAULT_POWER_W, Energy, EnergyMeter, Sample
from ohmstead.core.facts import FactKind
from ohmstead.ocpp.timestamps import parse_timestamp
from ohmstead.ocpp.v16.measurands import Reading, summarise

ENERGY_REGISTER = "Energy.Active.Import.Register"
POWER = "Power.Active.Import"
TRACED = {ENERGY_REGISTER: "Wh", POWER: "W", "SoC": "Percent"}
"""The measurands that a session follows, with the unit that needs no conversion."""

METER_VALUES = """
INSERT INTO charging_meter_value
       (charger_id, connector_id, transaction_id, sampled_at, digest, received_at, register_wh, power_w,
        soc_percent, sampled_values)
SELECT charger_id, connector_id, transaction_id, sampled_at, digest, received_at, register_wh, power_w,
       soc_percent, sampled_values
  FROM json_to_recordset(%s::json) AS row(
       charger_id text, connector_id int, transaction_id int, sampled_at timestamptz, digest bigint,
       received_at timestamptz, register_wh numeric, power_w float8, soc_percent float8,
       sampled_values jsonb)
 ORDER BY charger_id, connector_id
    ON CONFLICT DO NOTHING
"""

SESSIONS = """
UPDATE charging_session AS session
   SET energy_wh = CASE WHEN row.measured THEN row.energy_wh
                        ELSE greatest(row.energy_wh, session.energy_wh) END,
       register_wh = CASE WHEN row.measured THEN row.register_wh
                          ELSE greatest(row.register_wh, session.register_wh) END,
       last_sample_at = row.last_sample_at, anomalies = row.anomalies,
       power_w = row.power_w, soc_percent = coalesce(row.soc_percent, session.soc_percent)
  FROM json_to_recordset(%s::json) AS row(
       id uuid, energy_wh numeric, register_wh numeric, last_sample_at timestamptz, power_w float8,
       soc_percent float8, anomalies jsonb, measured boolean)
 WHERE session.id = row.id AND session.status = 'Active'
   AND (row.measured OR session.anomalies = row.anomalies)
   AND (session.last_sample_at IS NULL OR session.last_sample_at <= row.last_sample_at)
"""


class Metered(NamedTuple):
    """One MeterValue element: its row, and what was read from it."""

    sampled_at: datetime
    reading: Reading
    row: dict[str, Any]


class Figures(NamedTuple):
    """What a session comes to so far, at one moment; `measured` are those of an `OpenSession.meter`."""

    id: UUID
    energy_wh: Decimal
    register_wh: Decimal | None
    last_sample_at: datetime
    power_w: float | None
    soc_percent: float | None
    anomalies: list[Note]
    measured: bool

    def row(self) -> dict[str, Any]:
        """Return the row that brings the database up to this."""
        return {
            "id": self.id,
            "energy_wh": str(self.energy_wh),
            "register_wh": None if self.register_wh is None else str(self.register_wh),
            "last_sample_at": self.last_sample_at,
            "power_w": self.power_w,
            "soc_percent": self.soc_percent,
            "anomalies": self.anomalies,
            "measured": self.measured,
        }


@dataclass(slots=True)
class OpenSession:
    """What the gateway keeps in memory of an open session, to count its energy as values come in.

    By itself it only ever goes on from one trusted reading to the next. When something odd has come (a
    register that falls or leaps, a value out of order) all stored values are measured once, and the
    `meter` that did it goes on from there by the full rule. `anomalies` are those of the row. `trusted`
    is False when the database and this may differ: then it is read again first.
    """

    id: UUID
    transaction_id: int
    connector_id: int
    started_at: datetime
    received_at: datetime
    energy_wh: Decimal
    register_wh: Decimal | None
    last_sample_at: datetime
    max_power_w: int
    power_w: float | None = None
    soc_percent: float | None = None
    anomalies: list[Note] = field(default_factory=list)
    meter: EnergyMeter | None = None
    trusted: bool = True
    told_at: datetime | None = None
    figures_at: datetime | None = None

    def count(self, values: "list[Metered]", now: datetime) -> bool:
        """Count values that have just come, or return False when all stored ones must be read first."""
        if len(values) > 1:
            values = sorted(values, key=sampled_at)
        if self.meter is None:
            return all(self.follows(value.sampled_at, value.reading) for value in values)
        if not self.trusted:
            return False
        for value in values:
            if value.reading.register_wh is not None:
                self.meter.add(Sample(value.sampled_at, value.reading.register_wh))
        self.take_newest(values, now)
        self.take_energy(self.meter.energy)
        return True

    def take_newest(self, values: "list[Metered]", now: datetime) -> None:
        """Take what the newest values say beside the energy; `values` in the order of their times.

        A clock that leaps ahead tells what is so now, but not when that was.
        """
        latest = latest_time(self.started_at, self.received_at, now)
        for at, reading, _ in values:
            if at >= self.last_sample_at:
                self.last_sample_at = at if at <= latest else self.last_sample_at
                self._take_gauges(reading)

    def take_energy(self, energy: Energy) -> None:
        """Take what was measured."""
        self.energy_wh, self.register_wh = energy.wh, energy.register_wh
        self.anomalies = [*lasting(self.anomalies), *as_notes(energy.anomalies)]

    def follows(self, at: datetime, reading: Reading) -> bool:
        """Tell whether a value simply goes on from the last one, and if so count it.

        The bound is that of `charging.energy`: power x 1.25 x elapsed + 1 kWh.
        """
        elapsed = (at - self.last_sample_at).total_seconds()
        if not self.trusted or not 0 <= elapsed <= 86_400:
            return False
        register = reading.register_wh
        if register is not None:
            if self.register_wh is None:
                return False
            delta = register - self.register_wh
            if not 0 <= delta <= self.max_power_w * elapsed / 2880 + 1000:
                return False
            self.energy_wh += delta
            self.register_wh = register
        self.last_sample_at = at
        self._take_gauges(reading)
        return True

    def _take_gauges(self, reading: Reading) -> None:
        if reading.power_w is not None:
            self.power_w = float(reading.power_w)
        if reading.soc is not None:
            self.soc_percent = float(reading.soc)

    def figures(self) -> Figures:
        """Return the figures as they are now."""
        return Figures(
            self.id,
            self.energy_wh,
            self.register_wh,
            self.last_sample_at,
            self.power_w,
            self.soc_percent,
            self.anomalies,
            self.meter is not None,
        )


def sampled_at(value: Metered) -> datetime:
    """Return when a value was sampled: the order in which values count."""
    return value.sampled_at


def max_power_w(max_power_kw: float | None) -> int:
    """Return what a connector may give at most, in W; a charger of unknown power is taken as a strong one."""
    return int(max_power_kw * 1000) if max_power_kw else DEFAULT_POWER_W


def _simple_reading(sampled_values: list[dict[str, Any]]) -> Reading | None:
    """Read what nearly every charger sends: one plain register in Wh, perhaps power and charge, no phases.

    None for anything else, which `summarise` reads with all its rules; the two agree where both can.
    """
    register: Decimal | None = None
    power: Decimal | None = None
    soc: Decimal | None = None
    for sampled in sampled_values:
        measurand = sampled.get("measurand", ENERGY_REGISTER)
        if measurand not in TRACED:
            continue
        value, unit = sampled["value"], sampled.get("unit")
        if (
            (unit != TRACED[measurand] and unit is not None)
            or "phase" in sampled
            or "location" in sampled
            or "format" in sampled
            or sampled.get("context", "Sample.Periodic") != "Sample.Periodic"
            or not value.isascii()
            or len(value) > 14
        ):
            return None
        whole, _, fraction = value.partition(".")
        if not whole.isdecimal() or len(fraction) > 3 or (fraction and not fraction.isdecimal()):
            return None
        number = Decimal(value)
        if measurand == ENERGY_REGISTER:
            if register is not None:
                return None
            register = number
        elif measurand == POWER:
            if power is not None:
                return None
            power = number
        else:
            if soc is not None or number > 100:
                return None
            soc = number
    return Reading(register, power, soc, None, None)


def read_meter_values(
    meter_values: list[dict[str, Any]],
    *,
    charger_id: str,
    connector_id: int,
    transaction_id: int | None,
    received_at: datetime,
) -> list[Metered]:
    """Read the `meterValue` list of a MeterValues or StopTransaction (OCPP 1.6 7.31) into rows."""
    result = []
    for meter_value in meter_values:
        sampled = meter_value["sampledValue"]
        sampled_at = parse_timestamp(meter_value["timestamp"])
        reading = _simple_reading(sampled) or summarise(sampled)
        digest = blake2b(orjson.dumps(sampled), digest_size=8).digest()
        row = {
            "charger_id": charger_id,
            "connector_id": connector_id,
            "transaction_id": transaction_id,
            "sampled_at": sampled_at,
            "digest": int.from_bytes(digest, "big", signed=True),
            "received_at": received_at,
            "register_wh": None if reading.register_wh is None else str(reading.register_wh),
            "power_w": None if reading.power_w is None else float(reading.power_w),
            "soc_percent": None if reading.soc is None else float(reading.soc),
            "sampled_values": sampled,
        }
        result.append(Metered(sampled_at, reading, row))
    return result


METER_VALUE = FactKind("meter value", (METER_VALUES,))
"""The rows of `read_meter_values`; those that are there already stay as they are."""

FIGURES = FactKind("session figures", (SESSIONS,), identity=lambda row: row["id"], latest=(True,))
"""The rows of `Figures`; sessions that have ended are left alone, and so are newer figures.

The energy and the register of a session that is simply counted on only grow. So two figures of it that are
written side by side come out the same in either order, and a socket that began from a row which was about
to change does no harm: what was measured since has other anomalies, or none and at least this energy.
Measured figures may fall; of one session they are written one after the other (`charging.figures`).
"""
