"""Sessions at one charge point."""

import asyncio

import pytest
from tests.simulator.central import Central
from tests.simulator.conftest import MakeStation

from ohmstead_simulator.car import Car
from ohmstead_simulator.clock import ManualClock
from ohmstead_simulator.errors import NotPossible
from ohmstead_simulator.spec import ChargerSpec


def statuses(central: Central, connector: int = 1) -> list[str]:
    """The states that a connector reported, in order."""
    return [
        one.payload["status"]
        for one in central.of("StatusNotification")
        if one.payload["connectorId"] == connector
    ]


def registers(central: Central) -> list[float]:
    """The energy registers of all meter values, in Wh, in order."""
    return [
        float(value["value"])
        for one in central.of("MeterValues")
        for sample in one.payload["meterValue"]
        for value in sample["sampledValue"]
        if value["measurand"] == "Energy.Active.Import.Register"
    ]


async def test_a_session_from_plug_to_unplug(
    central: Central, clock: ManualClock, make_station: MakeStation
) -> None:
    station = await make_station(ChargerSpec("CP1", max_kw=11))
    await station.plug(1, Car(soc=20, ac_max_kw=11))
    assert await station.authorize("TAG", 1) == "Accepted"
    assert await station.start(1) == 1001
    await clock.advance(600)
    await station.stop("Local", tag="TAG")
    await station.unplug()

    assert statuses(central) == ["Available", "Preparing", "Charging", "Finishing", "Available"]
    start, stop = central.of("StartTransaction")[0].payload, central.of("StopTransaction")[0].payload
    assert stop["transactionId"] == 1001
    assert stop["meterStop"] - start["meterStart"] == pytest.approx(11_000 / 6, abs=2)
    seen = registers(central)
    assert len(seen) == 10
    assert seen == sorted(seen)
    assert all(one.payload["transactionId"] == 1001 for one in central.of("MeterValues"))


async def test_a_car_that_is_full_suspends_the_charge(
    central: Central, clock: ManualClock, make_station: MakeStation
) -> None:
    station = await make_station()
    await station.plug(1, Car(soc=79.5, target_soc=80, capacity_kwh=40))
    await station.start(1, "TAG")
    await clock.advance(600)
    assert statuses(central)[-1] == "SuspendedEV"
    power = [
        value["value"]
        for value in central.of("MeterValues")[-1].payload["meterValue"][0]["sampledValue"]
        if value["measurand"] == "Power.Active.Import"
    ]
    assert power == ["0"]


async def test_the_sample_interval_and_the_measurands_are_those_of_the_configuration(
    central: Central, clock: ManualClock, make_station: MakeStation
) -> None:
    station = await make_station(
        ChargerSpec(
            "CP1",
            configuration={"MeterValueSampleInterval": "10", "MeterValuesSampledData": "Power.Active.Import"},
        )
    )
    await station.plug()
    await station.start(1, "TAG")
    await clock.advance(60)
    assert len(central.of("MeterValues")) == 6
    measurands = {
        value["measurand"]
        for one in central.of("MeterValues")
        for value in one.payload["meterValue"][0]["sampledValue"]
    }
    assert measurands == {"Power.Active.Import"}


async def test_transaction_data_comes_with_the_stop_when_it_is_asked_for(
    central: Central, clock: ManualClock, make_station: MakeStation
) -> None:
    station = await make_station(
        ChargerSpec("CP1", configuration={"StopTxnSampledData": "Energy.Active.Import.Register"})
    )
    await station.plug()
    await station.start(1, "TAG")
    await clock.advance(60)
    await station.stop()
    data = central.of("StopTransaction")[0].payload["transactionData"]
    contexts = [one["sampledValue"][0]["context"] for one in data]
    assert contexts == ["Transaction.Begin", "Sample.Periodic", "Transaction.End"]


async def test_clock_aligned_values_come_on_the_quarter_hour(
    central: Central, clock: ManualClock, make_station: MakeStation
) -> None:
    await make_station(ChargerSpec("CP1", configuration={"ClockAlignedDataInterval": "900"}))
    await clock.advance(1800)
    times = [one.payload["meterValue"][0]["timestamp"] for one in central.of("MeterValues")]
    assert times == ["2026-01-01T12:15:00.000Z", "2026-01-01T12:30:00.000Z"]


async def test_pulling_the_cable_ends_the_transaction_or_only_suspends_it(
    central: Central, clock: ManualClock, make_station: MakeStation
) -> None:
    ending = await make_station("ENDS")
    going_on = await make_station(
        ChargerSpec("GOES-ON", configuration={"StopTransactionOnEVSideDisconnect": "false"})
    )
    for station in (ending, going_on):
        await station.plug()
        await station.start(1, "TAG")
        await station.unplug()
    stops = central.of("StopTransaction")
    assert [(one.charger_id, one.payload["reason"]) for one in stops] == [("ENDS", "EVDisconnected")]
    assert going_on.connectors[1].status == "SuspendedEV"
    await going_on.plug()
    assert going_on.connectors[1].status == "Charging"


async def test_a_tag_that_the_start_does_not_accept_ends_the_transaction(
    central: Central, clock: ManualClock, make_station: MakeStation
) -> None:
    central.tags["BAD"] = "Blocked"
    station = await make_station()
    await station.plug()
    await station.start(1, "BAD")
    await clock.advance(1)
    assert central.of("StopTransaction")[0].payload["reason"] == "DeAuthorized"


async def test_a_tag_that_is_not_accepted_gives_no_energy_where_it_may_not_stop(
    central: Central, clock: ManualClock, make_station: MakeStation
) -> None:
    central.tags["BAD"] = "Blocked"
    station = await make_station(ChargerSpec("CP1", configuration={"StopTransactionOnInvalidId": "false"}))
    await station.plug()
    await station.start(1, "BAD")
    await clock.advance(120)
    seen = registers(central)
    assert seen[0] == seen[-1]
    assert statuses(central)[-1] == "SuspendedEVSE"
    assert central.of("StopTransaction") == []


async def test_a_tag_whose_car_does_not_come_is_given_up(
    central: Central, clock: ManualClock, make_station: MakeStation
) -> None:
    station = await make_station(ChargerSpec("CP1", configuration={"ConnectionTimeOut": "30"}))
    await station.authorize("TAG", 1)
    assert statuses(central)[-1] == "Preparing"
    await clock.advance(31)
    assert statuses(central)[-1] == "Available"


async def test_local_pre_authorize_asks_only_once(
    central: Central, clock: ManualClock, make_station: MakeStation
) -> None:
    station = await make_station(ChargerSpec("CP1", configuration={"LocalPreAuthorize": "true"}))
    assert [await station.authorize("TAG"), await station.authorize("TAG")] == ["Accepted", "Accepted"]
    assert len(central.of("Authorize")) == 1


async def test_two_connectors_charge_apart(
    central: Central, clock: ManualClock, make_station: MakeStation
) -> None:
    station = await make_station(ChargerSpec("CP1", connectors=2, current="DC", max_kw=50))
    await station.plug(1, Car(soc=20))
    await station.plug(2, Car(soc=30))
    first, second = await asyncio.gather(station.start(1, "A"), station.start(2, "B"))
    assert {first, second} == {1001, 1002}
    await clock.advance(300)
    await station.stop(connector=1)
    await clock.advance(300)
    await station.stop(connector=2)
    starts = {one.payload["connectorId"]: one.payload["meterStart"] for one in central.of("StartTransaction")}
    stops = {one.payload["transactionId"]: one.payload["meterStop"] for one in central.of("StopTransaction")}
    assert stops[first] - starts[1] == pytest.approx(50_000 / 12, abs=2)
    assert stops[second] - starts[2] == pytest.approx(50_000 / 6, abs=2)


async def test_what_cannot_be_is_refused(make_station: MakeStation) -> None:
    station = await make_station()
    with pytest.raises(NotPossible, match="no connector 2"):
        await station.plug(2)
    with pytest.raises(NotPossible, match="no car"):
        await station.start(1, "TAG")
    await station.plug()
    with pytest.raises(NotPossible, match="no tag"):
        await station.start(1)
    await station.start(1, "TAG")
    with pytest.raises(NotPossible, match="transaction already"):
        await station.start(1, "TAG")


async def test_a_fault_ends_the_charge_and_clears(
    central: Central, clock: ManualClock, make_station: MakeStation
) -> None:
    station = await make_station()
    await station.plug()
    await station.start(1, "TAG")
    await station.fault(1, "GroundFailure")
    await station.clear_fault(1)
    codes = [
        (one.payload["status"], one.payload["errorCode"])
        for one in central.of("StatusNotification")
        if one.payload["connectorId"] == 1
    ]
    assert codes[-2:] == [("Faulted", "GroundFailure"), ("Preparing", "NoError")]
    assert central.of("StopTransaction")[0].payload["reason"] == "Other"
