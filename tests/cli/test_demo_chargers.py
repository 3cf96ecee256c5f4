import time

from tests.cli.running import processes, until
from tests.running import free_port

from ohmstead.demo_chargers import ChargerProcess, Work


def work() -> Work:
    """Two chargers whose server is not there, as it is while a server restarts."""
    url = f"ws://127.0.0.1:{free_port()}/ocpp"
    return Work(url, [("DEMO-A", 2, 22.0, "AC", "pw"), ("DEMO-B", 1, 150.0, "DC", None)], ["TAG"])


def test_they_run_beside_us_and_leave_when_asked() -> None:
    before = set(processes("demo_chargers"))
    with ChargerProcess(work()) as chargers:
        chargers.start()
        until(lambda: bool(set(processes("demo_chargers")) - before), "they start")
        begin = time.monotonic()
    assert time.monotonic() - begin < 10
    assert set(processes("demo_chargers")) <= before


def test_no_password_is_in_the_list_of_processes() -> None:
    with ChargerProcess(Work("ws://127.0.0.1:1", [("X", 1, 11.0, "AC", "hunter2")], [])) as chargers:
        chargers.start()
        until(lambda: bool(processes("demo_chargers")), "they start")
        assert processes("hunter2") == []


def test_stopping_without_a_start_and_twice_is_harmless() -> None:
    chargers = ChargerProcess(work())
    chargers.stop()
    chargers.start()
    chargers.stop()
    chargers.stop()
