import os
import re
import signal
from pathlib import Path

import httpx
import psycopg
import pytest
from tests.cli.running import Running, healthy, processes, reachable_folder, until
from tests.running import free_port

from ohmstead.core.config import Settings
from ohmstead.core.postgres import EmbeddedPostgres
from ohmstead.demo import LOGINS, PASSWORD
from ohmstead.launch import EVERYWHERE, as_demo, charger_addresses

LIMIT = 8.0
"""Seconds of the processor from the start in a set-up tree to an answering `/health`; it takes about 2.5."""


class TestChargerAddresses:
    def addresses(self, host: str = "192.168.1.5", **settings: object) -> list[str]:
        return charger_addresses(Settings.load(**settings), host)

    def test_a_charger_gets_the_address_that_is_listened_on(self) -> None:
        assert self.addresses(port=9000) == ["ws://192.168.1.5:9000/ocpp"]
        assert self.addresses("fd00::5", port=9000) == ["ws://[fd00::5]:9000/ocpp"]

    @pytest.mark.parametrize("everywhere", EVERYWHERE)
    def test_a_server_on_every_address_is_named_by_one_that_can_be_typed(self, everywhere: str) -> None:
        (address,) = self.addresses(everywhere, port=9000)
        assert everywhere not in address.removeprefix("ws")

    def test_with_a_certificate_it_is_wss(self) -> None:
        assert self.addresses(tls_cert="c.pem", tls_key="k.pem", port=8443) == ["wss://192.168.1.5:8443/ocpp"]

    def test_a_public_name_wins(self) -> None:
        public = "https://charge.example.com"
        assert self.addresses(public_url=public) == ["wss://charge.example.com/ocpp"]

    def test_the_second_listener_is_plain(self) -> None:
        addresses = self.addresses(public_url="https://charge.example.com", ocpp_port=8080)
        assert addresses == ["wss://charge.example.com/ocpp", "ws://192.168.1.5:8080/ocpp"]


def chargers_of(demo: Running) -> list[int]:
    """The processes of simulated chargers that this demo started."""
    parents = {}
    for number in processes(r"ohmstead\.demo_chargers"):
        status = Path(f"/proc/{number}/status").read_text()
        parents[number] = int(status.partition("PPid:")[2].split()[0])
    return [number for number, parent in parents.items() if parent == demo.process.pid]


class TestServe:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_it_serves_from_an_embedded_database_and_a_signal_ends_all(self, number: signal.Signals) -> None:
        port = free_port()
        with reachable_folder() as folder:
            with Running("serve", "--port", str(port), OHMSTEAD_DATA_DIR=str(folder)) as server:
                server.await_health(port)
                until(
                    lambda: f":{port}/ocpp/<charger id>" in server.text(), "the address for chargers is told"
                )
                assert server.stop(number) == 0, server.text()
                assert "Traceback" not in server.text()
            assert EmbeddedPostgres(folder).pid is None

    def test_it_listens_where_it_is_told_and_nowhere_else(self) -> None:
        port = free_port()
        with (
            reachable_folder() as folder,
            Running(
                "serve", OHMSTEAD_HOST="127.0.0.2", OHMSTEAD_PORT=str(port), OHMSTEAD_DATA_DIR=str(folder)
            ) as server,
        ):
            server.await_health(port, "127.0.0.2")
            assert not healthy(port, "127.0.0.1")
            until(lambda: f"ws://127.0.0.2:{port}/ocpp/" in server.text(), "the address for chargers is told")
            assert server.stop(signal.SIGTERM) == 0, server.text()

    def test_sigterm_while_it_starts_leaves_no_database_running(self) -> None:
        with reachable_folder() as folder:
            with Running("serve", "--port", str(free_port()), OHMSTEAD_DATA_DIR=str(folder)) as server:
                until(lambda: EmbeddedPostgres(folder).pid is not None, "PostgreSQL starts")
                code = server.stop(signal.SIGTERM)
                assert "Traceback" not in server.text()
            assert code in (0, 130)
            assert EmbeddedPostgres(folder).pid is None


class TestDemo:
    @pytest.mark.parametrize("setting", ["mail_log", "ocpp_accept_unknown"])
    def test_mails_are_in_its_log_and_unknown_chargers_let_in_unless_told_otherwise(
        self, setting: str
    ) -> None:
        assert not getattr(Settings.load(), setting)
        assert getattr(as_demo(Settings.load()), setting)
        assert not getattr(as_demo(Settings.load(**{setting: False})), setting)

    def test_the_environment_may_tell_it_otherwise(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OHMSTEAD_OCPP_ACCEPT_UNKNOWN", "false")
        assert not as_demo(Settings.load()).ocpp_accept_unknown

    def test_from_nothing_it_answers_after_so_little_work_that_eight_seconds_are_plenty(self) -> None:
        """The seconds themselves are in the table of the bench; here other tests have the machine as well."""
        port = free_port()
        with (
            reachable_folder() as folder,
            Running("demo", "--port", str(port), OHMSTEAD_DATA_DIR=str(folder)) as demo,
        ):
            demo.await_health(port)
            # proc(5), stat: user and system time of the process, and of its children that have ended
            ticks = Path(f"/proc/{demo.process.pid}/stat").read_text().rpartition(")")[2].split()[11:15]
            used = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
            demo.stop(signal.SIGTERM)
        assert used < LIMIT

    def test_it_tells_how_to_use_it_shows_the_links_of_its_mails_and_ctrl_c_ends_all(self) -> None:
        port = free_port()
        with reachable_folder() as folder:
            with Running("demo", "--port", str(port), OHMSTEAD_DATA_DIR=str(folder)) as demo:
                demo.await_health(port)
                until(lambda: bool(chargers_of(demo)), "the chargers start")
                until(lambda: "Ctrl-C" in demo.text(), "the welcome is complete")
                chargers = chargers_of(demo)
                text = demo.text()
                assert f"http://localhost:{port}/docs" in text
                assert f"ws://127.0.0.1:{port}/ocpp/<charger id>" in text
                for role, email, _, _ in LOGINS:
                    assert re.search(rf"{role} +{re.escape(email)} +{PASSWORD}", text)
                assert "curl -s" in text
                auth = f"http://127.0.0.1:{port}/api/auth/password-reset"
                assert httpx.post(auth, json={"email": LOGINS[-1][1]}).status_code == 202
                mailed = re.compile(r"/reset-password/([\w-]{20,})")
                until(lambda: mailed.search(demo.text()) is not None, "the mailed link is in the log")
                [token] = set(mailed.findall(demo.text()))
                new = {"password": "seven horses over the 9 bridges"}
                assert httpx.post(f"{auth}/{token}", json=new).is_success
                assert demo.stop(signal.SIGINT) == 0, demo.text()
                assert "Traceback" not in demo.text()
            assert not set(chargers) & set(processes("demo_chargers"))
            assert EmbeddedPostgres(folder).pid is None

    def test_a_second_start_keeps_the_data(self) -> None:
        port = free_port()
        with reachable_folder() as folder:
            for turn in (1, 2):
                with Running("demo", "--port", str(port), OHMSTEAD_DATA_DIR=str(folder)) as demo:
                    demo.await_health(port)
                    with psycopg.connect(EmbeddedPostgres(folder).url()) as connection:
                        if turn == 1:
                            connection.execute("CREATE TABLE kept AS SELECT 1 AS turn")
                        assert connection.execute("SELECT turn FROM kept").fetchone() == (1,)
                    assert demo.stop(signal.SIGTERM) == 0, demo.text()

    def test_the_chargers_leave_by_themselves_when_the_demo_is_killed(self) -> None:
        port = free_port()
        with (
            reachable_folder() as folder,
            Running("demo", "--port", str(port), OHMSTEAD_DATA_DIR=str(folder)) as demo,
        ):
            demo.await_health(port)
            until(lambda: bool(chargers_of(demo)), "the chargers start")
            (charger,) = chargers_of(demo)
            demo.stop(signal.SIGKILL)
            until(lambda: charger not in processes("demo_chargers"), "the chargers leave", 15)
