"""The watch of the gateway: what it does by the clock for all connections."""

import pytest
from tests.chargers import RawCharger, until
from tests.gateway.admin import AdminApi
from tests.running import RunningServer

from ohmstead.gateway import server as gateway_server
from ohmstead.gateway.attendance import Attendance
from ohmstead.stations.models import Charger


async def test_a_fault_in_one_look_does_not_end_it(
    server: RunningServer,
    api: AdminApi,
    raw: RawCharger,
    row: Charger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who was heard is written still, after a look that failed."""
    monkeypatch.setattr(gateway_server, "SEEN_EVERY_SECONDS", 0.1)
    failed: list[bool] = []
    written: list[bool] = []
    write_seen = Attendance.write_seen

    def failing(self: Attendance) -> None:
        if not failed:
            failed.append(True)
            raise RuntimeError("a fault of ours")
        written.append(True)
        write_seen(self)

    monkeypatch.setattr(Attendance, "write_seen", failing)
    await raw.result("Heartbeat")

    async def again() -> bool:
        return len(written) >= 2

    await until(again)
    assert failed
    assert (await api.charger(row.id))["online"]
