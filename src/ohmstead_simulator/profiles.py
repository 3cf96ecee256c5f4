"""Charging profiles: what is installed, and the limit that follows from it (OCPP 1.6 3.13)."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ohmstead_simulator.meter import VOLTAGE_AC

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Installed:
    """One charging profile (snake_case members, as the `ocpp` package hands them over) on a connector."""

    connector_id: int
    profile: dict[str, Any]

    @property
    def purpose(self) -> str:
        """ChargePointMaxProfile, TxDefaultProfile or TxProfile."""
        return str(self.profile["charging_profile_purpose"])

    @property
    def stack_level(self) -> int:
        """The higher one wins."""
        return int(self.profile["stack_level"])


@dataclass(frozen=True, slots=True)
class Charge:
    """What the profiles must know of a running transaction."""

    transaction_id: int | None
    started_at: datetime


class ChargingProfiles:
    """The profile store of one charge point and the rules of precedence between profiles."""

    def __init__(self, max_installed: int = 20, max_stack_level: int = 10, max_periods: int = 24) -> None:
        self._installed: list[Installed] = []
        self._max_installed = max_installed
        self._max_stack_level = max_stack_level
        self._max_periods = max_periods

    def __len__(self) -> int:
        return len(self._installed)

    def install(self, connector_id: int, profile: dict[str, Any], charge: Charge | None) -> bool:
        """SetChargingProfile (OCPP 1.6 5.16): False when the profile is refused.

        A profile with the same id, or with the same purpose and stack level on the same connector,
        is replaced. A TxProfile needs a running transaction on its connector, and its own
        transactionId when it names one; ChargePointMaxProfile belongs to connector 0.
        """
        purpose = profile["charging_profile_purpose"]
        schedule = profile["charging_schedule"]
        if not 0 <= profile["stack_level"] <= self._max_stack_level:
            return False
        if not 1 <= len(schedule["charging_schedule_period"]) <= self._max_periods:
            return False
        if purpose == "ChargePointMaxProfile" and connector_id != 0:
            return False
        if purpose == "TxProfile":
            wanted = profile.get("transaction_id")
            if connector_id == 0 or charge is None:
                return False
            if wanted is not None and wanted != charge.transaction_id:
                return False
        kept = [
            old
            for old in self._installed
            if old.profile["charging_profile_id"] != profile["charging_profile_id"]
            and (old.connector_id, old.purpose, old.stack_level)
            != (connector_id, purpose, profile["stack_level"])
        ]
        if len(kept) >= self._max_installed:
            return False
        self._installed = [*kept, Installed(connector_id, profile)]
        return True

    def clear(self, keep: Callable[[Installed], bool]) -> int:
        """Remove every profile that `keep` does not keep; answers how many went."""
        before = len(self._installed)
        self._installed = [installed for installed in self._installed if keep(installed)]
        return before - len(self._installed)

    def clear_matching(
        self, profile_id: int | None, connector_id: int | None, purpose: str | None, stack_level: int | None
    ) -> int:
        """ClearChargingProfile (OCPP 1.6 5.5): an id stands alone, the other criteria must all fit."""

        def stays(installed: Installed) -> bool:
            if profile_id is not None:
                return bool(installed.profile["charging_profile_id"] != profile_id)
            return (
                (connector_id is not None and installed.connector_id != connector_id)
                or (purpose is not None and installed.purpose != purpose)
                or (stack_level is not None and installed.stack_level != stack_level)
            )

        return self.clear(stays)

    def end_of_transaction(self, connector_id: int) -> None:
        """A TxProfile lives as long as its transaction."""
        self.clear(lambda old: not (old.purpose == "TxProfile" and old.connector_id == connector_id))

    def limit_w(
        self, connector_id: int, at: datetime, charge: Charge | None, phases: int, sharing: int
    ) -> float | None:
        """The limit in W for a connector at `at`; None when no profile says anything.

        TxProfile overrules TxDefaultProfile, one of the connector itself overrules one of connector
        0, a higher stack level a lower one. ChargePointMaxProfile caps the whole charge point: its
        limit is shared evenly by the `sharing` connectors that charge.
        """
        own = None if charge is None else self._best("TxProfile", connector_id, at, charge, phases)
        if own is None:
            own = self._best("TxDefaultProfile", connector_id, at, charge, phases)
        if own is None and connector_id != 0:
            own = self._best("TxDefaultProfile", 0, at, charge, phases)
        whole = self._best("ChargePointMaxProfile", 0, at, None, phases)
        shared = None if whole is None else whole / max(1, sharing)
        limits = [limit for limit in (own, shared) if limit is not None]
        return min(limits) if limits else None

    def _best(
        self, purpose: str, connector_id: int, at: datetime, charge: Charge | None, phases: int
    ) -> float | None:
        candidates = [
            old for old in self._installed if old.purpose == purpose and old.connector_id == connector_id
        ]
        for installed in sorted(candidates, key=lambda one: -one.stack_level):
            limit = limit_of(installed.profile, at, charge, phases)
            if limit is not None:
                return limit
        return None

    def composite(
        self,
        connector_id: int,
        start: datetime,
        duration: int,
        *,
        charge: Charge | None,
        phases: int,
        full_w: float,
        unit: str,
    ) -> list[dict[str, Any]]:
        """The periods of GetCompositeSchedule.conf: limits from `start` for `duration` seconds.

        Sampled at every minute and at each change in between found by halving, so a period starts at
        the second where its limit begins. Limits are rounded to 0.1 as the schema demands.
        """

        def limit(second: int) -> float:
            watts = self.limit_w(connector_id, start + timedelta(seconds=second), charge, phases, 1)
            watts = full_w if watts is None else min(watts, full_w)
            return round(watts if unit == "W" else watts / (VOLTAGE_AC * phases), 1)

        periods: list[dict[str, Any]] = [{"start_period": 0, "limit": limit(0)}]
        step = 60 if duration <= 86_400 else max(60, duration // 1440)
        for mark in range(step, max(duration, 1) + step, step):
            end = min(mark, duration)
            value = limit(end)
            if value == periods[-1]["limit"]:
                continue
            low, high = mark - step, end
            while high - low > 1:
                middle = (low + high) // 2
                if limit(middle) == periods[-1]["limit"]:
                    low = middle
                else:
                    high = middle
            if high < duration:
                periods.append({"start_period": high, "limit": limit(high)})
        return periods


def limit_of(profile: dict[str, Any], at: datetime, charge: Charge | None, phases: int) -> float | None:
    """The limit in W of one profile at `at`, or None while it says nothing (not valid, not begun, over)."""
    if "valid_from" in profile and at < moment(profile["valid_from"]):
        return None
    if "valid_to" in profile and at >= moment(profile["valid_to"]):
        return None
    schedule = profile["charging_schedule"]
    kind = profile["charging_profile_kind"]
    start = moment(schedule["start_schedule"]) if "start_schedule" in schedule else None
    if kind == "Relative" or start is None:
        start = charge.started_at if charge is not None else at
    elif kind == "Recurring":
        cycle = 7 * DAY if profile.get("recurrency_kind") == "Weekly" else DAY
        if at >= start:
            start += ((at - start) // cycle) * cycle
    elapsed = (at - start).total_seconds()
    if elapsed < 0 or ("duration" in schedule and elapsed >= schedule["duration"]):
        return None
    limit: float | None = None
    for period in sorted(schedule["charging_schedule_period"], key=lambda one: int(one["start_period"])):
        if period["start_period"] > elapsed:
            break
        limit = float(period["limit"])
        if schedule["charging_rate_unit"] == "A":
            limit *= VOLTAGE_AC * min(phases, int(period.get("number_phases", 3)))
    return limit


def moment(text: str) -> datetime:
    """An ISO 8601 time of the wire as aware UTC; a time without a zone is taken as UTC."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
