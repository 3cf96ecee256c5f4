"""Reservations as the charger's words make them: asked, answered, used, cancelled, replaced, expired."""

from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from sqlalchemy import update
from tests.bookings.conftest import UNTIL, Desk
from tests.conftest import FrozenClock
from tests.world import World

from ohmstead.bookings import reservations
from ohmstead.bookings.reservations_models import Reservation
from ohmstead.core.db import Database
from ohmstead.link.links import Answer, ChargerBusy, ChargerOffline
from ohmstead.stations.models import Charger, Connector


class TestAsked:
    @pytest.mark.parametrize("word", ["Accepted", "Rejected", "Occupied", "Faulted", "Unavailable"])
    async def test_a_raw_command_is_kept_with_the_chargers_own_word(self, desk: Desk, word: str) -> None:
        desk.says(word)
        answer = await desk.reserve_raw(7, 2, "OURS", parentIdTag="FAMILY")
        assert answer["status"] == word
        row = await desk.one()
        assert row["ended_at"] == (None if word == "Accepted" else "2026-05-04T12:00:00Z")
        del row["id"], row["ended_at"]
        assert row == {
            "reservation_id": 7,
            "charger_id": desk.charger.id,
            "connector_id": 2,
            "id_tag": "OURS",
            "parent_id_tag": "FAMILY",
            "expires_at": UNTIL,
            "status": word,
            "detail": "",
            "uncertain": False,
            "created_at": "2026-05-04T12:00:00Z",
            "answered_at": "2026-05-04T12:00:00Z",
            "session_id": None,
            "notes": [],
        }

    async def test_it_is_there_while_the_charger_thinks(self, desk: Desk) -> None:
        link = desk.says("Accepted")
        seen: list[str] = []
        answering = link.call

        async def call(*given: Any, **named: Any) -> Answer:
            seen.append((await desk.one())["status"])
            return await answering(*given, **named)

        link.call = call  # type: ignore[method-assign] # it looks before it answers
        await desk.reserve_raw()
        assert seen == ["Pending"]
        assert (await desk.one())["status"] == "Accepted"

    @pytest.mark.parametrize(
        ("answer", "uncertain", "says"),
        [
            (Answer(), True, "in time"),
            (ChargerOffline("It left."), True, "may hold it"),
            (ChargerBusy("Others are first."), True, "may hold it"),
            (
                Answer(error_code="NotSupported", error_description="not here"),
                False,
                "NotSupported: not here",
            ),
            (Answer(response={"status": "Maybe"}), True, "none of OCPP"),
            (Answer(response={}), True, "none of OCPP"),
        ],
        ids=["no answer", "left", "busy", "CALLERROR", "made up word", "no word"],
    )
    async def test_without_a_usable_answer_it_failed_and_says_whether_the_charger_may_hold_it(
        self, *, desk: Desk, answer: Any, uncertain: bool, says: str
    ) -> None:
        desk.says(answer)
        await desk.reserve_raw()
        row = await desk.one()
        assert (row["status"], row["uncertain"]) == ("Failed", uncertain)
        assert says in row["detail"]

    async def test_a_charger_that_is_not_connected_failed_too(self, desk: Desk) -> None:
        answer = await desk.reserve_raw()
        assert answer["error"] == "ChargerOffline"
        assert (await desk.one())["status"] == "Failed"

    @pytest.mark.parametrize(
        "fault",
        [{"idTag": "A\0"}, {"parentIdTag": "\0"}, {"reservationId": 2**63}, {"connectorId": -(2**64)}],
    )
    async def test_what_cannot_be_kept_is_not_sent(self, desk: Desk, fault: dict[str, Any]) -> None:
        link = desk.says("Accepted")
        body = {"reservationId": 7, "connectorId": 1, "idTag": "OURS", "expiryDate": UNTIL, **fault}
        answer = await desk.command("ReserveNow", body)
        assert answer.status_code == 422
        assert link.calls == []
        assert await desk.kept() == []

    async def test_a_payload_that_breaks_the_schema_leaves_nothing_behind(self, desk: Desk) -> None:
        desk.says("Accepted")
        assert (await desk.command("ReserveNow", {"reservationId": 7})).status_code == 422
        assert await desk.kept() == []


class TestReplaced:
    async def test_the_same_id_again_replaces_when_it_is_accepted(
        self, desk: Desk, clock: FrozenClock
    ) -> None:
        desk.says("Accepted", "Occupied", "Accepted")
        await desk.reserve_raw(7, tag="FIRST")
        clock.advance(1)
        await desk.reserve_raw(7, tag="SECOND")
        assert [(row["id_tag"], row["status"]) for row in await desk.kept()] == [
            ("SECOND", "Occupied"),
            ("FIRST", "Accepted"),
        ]
        clock.advance(1)
        await desk.reserve_raw(7, tag="THIRD")
        newest, _, first = await desk.kept()
        assert (newest["id_tag"], newest["status"]) == ("THIRD", "Accepted")
        assert (first["status"], first["ended_at"]) == ("Cancelled", "2026-05-04T12:00:02Z")
        assert "Replaced" in first["detail"]

    async def test_another_id_and_another_charger_are_left_alone(
        self, desk: Desk, world: World, clock: FrozenClock
    ) -> None:
        desk.says("Accepted", "Accepted")
        await desk.reserve_raw(7)
        await desk.reserve_raw(8, 2)
        other = Desk(desk.app, desk.client, desk.admin, await world.charger(), clock)
        other.says("Accepted")
        await other.reserve_raw(7)
        assert {row["status"] for row in [*await desk.kept(), *await other.kept()]} == {"Accepted"}


class TestCancelled:
    async def test_an_accepted_cancel_ends_it(self, desk: Desk, clock: FrozenClock) -> None:
        desk.says("Accepted", "Accepted")
        await desk.reserve_raw(7)
        clock.advance(60)
        await desk.command("CancelReservation", {"reservationId": 7})
        row = await desk.one()
        assert (row["status"], row["ended_at"]) == ("Cancelled", "2026-05-04T12:01:00Z")

    @pytest.mark.parametrize(
        "answer", [Answer(), Answer(error_code="InternalError"), ChargerOffline("Left.")]
    )
    async def test_without_its_consent_it_stays(self, desk: Desk, answer: Any) -> None:
        desk.says("Accepted", answer)
        await desk.reserve_raw(7)
        await desk.command("CancelReservation", {"reservationId": 7})
        assert (await desk.one())["status"] == "Accepted"

    async def test_a_rejected_cancel_is_noted_since_the_charger_does_not_hold_it(self, desk: Desk) -> None:
        desk.says("Accepted", "Rejected")
        await desk.reserve_raw(7)
        await desk.command("CancelReservation", {"reservationId": 7})
        row = await desk.one()
        assert row["status"] == "Accepted"
        assert [note["kind"] for note in row["notes"]] == ["not_held"]

    @pytest.mark.parametrize(("word", "status"), [("Accepted", "Cancelled"), ("Rejected", "Failed")])
    async def test_a_cancel_tells_whether_one_without_an_answer_was_held(
        self, desk: Desk, word: str, status: str
    ) -> None:
        desk.says(Answer(), word)
        await desk.reserve_raw(7)
        await desk.command("CancelReservation", {"reservationId": 7})
        row = await desk.one()
        assert (row["status"], row["uncertain"]) == (status, False)

    async def test_a_cancel_of_what_nobody_reserved_is_no_fault(self, desk: Desk) -> None:
        desk.says("Accepted", "Rejected")
        for number in (99, 2**63 - 1):
            assert (await desk.command("CancelReservation", {"reservationId": number})).status_code == 200


class TestUsed:
    async def test_a_start_that_names_it_uses_it(self, desk: Desk, clock: FrozenClock) -> None:
        desk.says("Accepted")
        await desk.reserve_raw(7)
        clock.advance(60)
        session = await desk.start("ours", 7)
        row = await desk.one()
        assert (row["status"], row["session_id"]) == ("Used", str(session.id))
        assert session.anomalies == []

    async def test_the_tag_of_the_reservation_uses_it_without_naming_it(self, desk: Desk) -> None:
        desk.says("Accepted")
        await desk.reserve_raw(7)
        await desk.start("ours")
        assert (await desk.one())["status"] == "Used"

    async def test_a_tag_of_the_same_parent_uses_it(self, desk: Desk, world: World) -> None:
        desk.says("Accepted")
        await world.token(desk.charger.backoffice_id, "CHILD", parent_id_tag="family")
        await desk.reserve_raw(7, parentIdTag="FAMILY")
        session = await desk.start("CHILD", 7)
        assert session.anomalies == []
        assert (await desk.one())["status"] == "Used"

    async def test_a_start_at_another_connector_does_not_use_it(self, desk: Desk) -> None:
        desk.says("Accepted")
        await desk.reserve_raw(7, 2)
        session = await desk.start("OURS", connector=1)
        assert (await desk.one())["status"] == "Accepted"
        assert session.anomalies == []

    async def test_a_reservation_of_connector_0_is_used_anywhere(self, desk: Desk) -> None:
        desk.says("Accepted")
        await desk.reserve_raw(7, 0)
        await desk.start("OURS", connector=2)
        assert (await desk.one())["status"] == "Used"

    async def test_the_same_start_again_changes_nothing(self, desk: Desk) -> None:
        desk.says("Accepted", "Accepted")
        await desk.reserve_raw(7)
        database: Database = desk.app.state.database
        for _ in range(2):
            async with database.session() as session:
                await reservations.started(
                    session,
                    desk.charger.id,
                    connector_id=1,
                    id_tag="OURS",
                    parent_id_tag=None,
                    reservation_id=7,
                    session_id=UUID(int=1),
                    started_at=desk.clock.now(),
                    now=desk.clock.now(),
                )
        assert (await desk.one())["session_id"] == str(UUID(int=1))

    async def test_a_start_that_comes_late_has_used_what_expired_meanwhile(
        self, desk: Desk, clock: FrozenClock
    ) -> None:
        desk.says("Accepted")
        await desk.reserve_raw(7, expiryDate="2026-05-04T12:10:00Z")
        clock.advance(20 * 60)
        assert (await desk.one())["status"] == "Expired"
        await desk.start("OURS", 7, minutes=15)
        assert (await desk.one())["status"] == "Used"

    async def test_a_charger_that_uses_it_before_its_answer_is_written_has_used_it(self, desk: Desk) -> None:
        link = desk.says("Accepted")
        answering = link.call

        async def call(*given: Any, **named: Any) -> Answer:
            await desk.start("OURS", 7)
            return await answering(*given, **named)

        link.call = call  # type: ignore[method-assign] # it starts before it answers
        await desk.reserve_raw(7)
        row = await desk.one()
        assert (row["status"], row["answered_at"]) == ("Used", "2026-05-04T12:00:00Z")

    async def test_one_that_the_charger_never_confirmed_is_used_all_the_same(self, desk: Desk) -> None:
        desk.says(Answer())
        await desk.reserve_raw(7)
        await desk.start("OURS", 7)
        row = await desk.one()
        assert (row["status"], row["uncertain"]) == ("Used", False)

    async def test_what_was_refused_or_cancelled_is_not_used(self, desk: Desk, clock: FrozenClock) -> None:
        desk.says("Rejected", "Accepted", "Accepted")
        await desk.reserve_raw(7)
        clock.advance(1)
        await desk.reserve_raw(8)
        await desk.command("CancelReservation", {"reservationId": 8})
        for number in (7, 8, 9, -1, 0):
            session = await desk.start("OTHER", number)
            assert session.anomalies == []
        assert [row["status"] for row in await desk.kept()] == ["Cancelled", "Rejected"]


class TestOtherTags:
    async def test_a_start_by_another_tag_is_taken_and_flagged_on_both_sides(self, desk: Desk) -> None:
        desk.says("Accepted")
        await desk.reserve_raw(7)
        session = await desk.start("STRANGER")
        [anomaly] = session.anomalies
        assert anomaly["kind"] == "reserved_for_other"
        assert "STRANGER" in anomaly["detail"]
        row = await desk.one()
        assert row["status"] == "Accepted"
        [note] = row["notes"]
        assert (note["kind"], note["session_id"]) == ("reserved_for_other", str(session.id))

    async def test_another_tag_that_names_the_reservation_has_used_it_and_is_flagged(
        self, desk: Desk
    ) -> None:
        desk.says("Accepted")
        await desk.reserve_raw(7)
        session = await desk.start("STRANGER", 7)
        assert [note["kind"] for note in session.anomalies] == ["reserved_for_other"]
        row = await desk.one()
        assert (row["status"], row["session_id"]) == ("Used", str(session.id))
        assert [note["kind"] for note in row["notes"]] == ["reserved_for_other"]

    async def test_connector_0_is_not_taken_while_another_connector_is_free(
        self, desk: Desk, db: Database
    ) -> None:
        desk.says("Accepted")
        await desk.reserve_raw(7, 0)
        assert (await desk.start("STRANGER", connector=1)).anomalies == []
        async with db.session() as session:
            busy = update(Connector).where(
                Connector.charger_id == desk.charger.id, Connector.connector_id == 1
            )
            await session.execute(busy.values(status="Charging"))
        last = await desk.start("STRANGER", connector=2)
        assert [note["kind"] for note in last.anomalies] == ["reserved_for_other"]

    async def test_after_its_end_nobody_is_flagged(self, desk: Desk, clock: FrozenClock) -> None:
        desk.says("Accepted")
        await desk.reserve_raw(7)
        clock.advance(3600)
        assert (await desk.start("STRANGER")).anomalies == []

    async def test_a_charger_whose_clock_is_wrong_is_flagged_too(self, desk: Desk) -> None:
        desk.says("Accepted")
        await desk.reserve_raw(7)
        session = await desk.start("STRANGER", minutes=60 * 24 * 365 * 20)
        assert [note["kind"] for note in session.anomalies] == ["reserved_for_other"]


class TestExpired:
    async def test_it_is_shown_expired_from_its_end_on_and_then_marked(
        self, desk: Desk, db: Database, clock: FrozenClock
    ) -> None:
        desk.says("Accepted")
        await desk.reserve_raw(7)
        clock.advance(3600)
        row = await desk.one()
        assert (row["status"], row["ended_at"]) == ("Expired", UNTIL)
        assert len(await desk.kept(status="Expired")) == 1
        assert await desk.kept(status="Accepted") == []
        async with db.session() as session:
            assert await reservations.expire(session, clock.now()) == 1
            assert await reservations.expire(session, clock.now()) == 0
        assert await desk.one() == row

    async def test_one_whose_asker_was_killed_failed_after_a_while(
        self, *, desk: Desk, db: Database, charger: Charger, clock: FrozenClock, app: FastAPI
    ) -> None:
        async with db.session() as session:
            await reservations.asked(
                session,
                charger.id,
                reservation_id=7,
                connector_id=1,
                id_tag="OURS",
                parent_id_tag=None,
                expires_at=clock.now(),
                now=clock.now(),
            )
        clock.advance(60)
        async with db.session() as session:
            assert await reservations.expire(session, clock.now()) == 0
        clock.advance(600)
        task = app.state.jobs.app.tasks["reservations:expire_reservations"]
        await run(task, desk)
        row = await desk.one()
        assert (row["status"], row["uncertain"]) == ("Failed", True)

    async def test_numbers_of_our_own_are_free_positive_and_of_32_bits(
        self, desk: Desk, db: Database, charger: Charger
    ) -> None:
        async with db.session() as session:
            numbers = {await reservations.new_number(session, charger.id) for _ in range(50)}
        assert len(numbers) == 50
        assert all(1 <= number < 2**31 for number in numbers)

    async def test_a_charger_that_was_deleted_takes_its_reservations_along(
        self, desk: Desk, db: Database, charger: Charger
    ) -> None:
        desk.says("Accepted")
        await desk.reserve_raw(7)
        async with db.session() as session:
            row = await session.get(Charger, charger.id)
            await session.delete(row)
        async with db.session() as session:
            assert (await session.get(Reservation, UUID(int=1))) is None
        assert await desk.kept() == []


async def run(task: Any, desk: Desk) -> None:
    """Run a task as the worker does."""

    class Context:
        additional_context = {"database": desk.app.state.database, "clock": desk.clock}

    await task.func(Context(), 0)
