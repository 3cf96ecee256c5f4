"""Waves, their limits, and what becomes of work whose process dies: dispatchers on a real database."""

import asyncio
import time
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from tests.chargers import until
from tests.fleet.campaigns.conftest import Fleet
from tests.stations.links import FakeLink

from ohmstead.core.errors import Unavailable
from ohmstead.fleet.campaigns import dispatcher as dispatching
from ohmstead.fleet.campaigns.models import CampaignItem
from ohmstead.fleet.campaigns.progress import EVIDENCE_BYTES, LEAVES_AT_MOST, UNREACHED_AGAIN
from ohmstead.fleet.campaigns.state import CampaignState, Event, ItemState
from ohmstead.fleet.campaigns.turns import LEASE, take_turn
from ohmstead.fleet.campaigns.work import Kind, away, done, failed, waiting
from ohmstead.link.links import ChargerOffline, ChargerUnreachable
from ohmstead.stations.models import Charger


async def begun(fleet: Fleet, number: int) -> None:
    """Wait until so many chargers are being worked on."""

    async def are() -> bool:
        return len(fleet.scripted.at_work) == number

    await until(are)


class TestWaves:
    async def test_no_more_are_worked_on_at_once_than_was_said(self, fleet: Fleet) -> None:
        campaign = await fleet.campaign(await fleet.chargers(12), at_once=3)
        fleet.dispatcher()
        await fleet.reach(campaign, Done=12)
        assert fleet.scripted.most == 3
        assert len(fleet.scripted.begun) == 12
        assert (await fleet.row(campaign)).state == CampaignState.FINISHED

    async def test_they_are_begun_in_the_order_of_their_ids_and_the_next_as_soon_as_one_is_through(
        self, fleet: Fleet
    ) -> None:
        chargers = await fleet.chargers(4)
        fleet.scripted.gate.clear()
        await fleet.campaign(chargers, at_once=2)
        fleet.dispatcher()
        await begun(fleet, 2)
        assert sorted(fleet.scripted.begun) == sorted(charger.id for charger in chargers)[:2]
        fleet.scripted.gate.set()

    async def test_two_processes_keep_the_limit_together_and_never_do_one_charger_twice(
        self, fleet: Fleet
    ) -> None:
        chargers = await fleet.chargers(40)
        campaign = await fleet.campaign(chargers, at_once=5)
        for _ in range(3):
            fleet.dispatcher()
        await fleet.reach(campaign, Done=40)
        assert sorted(fleet.scripted.begun) == sorted(charger.id for charger in chargers)
        assert fleet.scripted.twice == []
        assert fleet.scripted.most <= 5

    async def test_a_charger_that_waits_for_its_end_counts(self, fleet: Fleet) -> None:
        chargers = await fleet.chargers(3)
        for charger in chargers:
            fleet.scripted.outcomes[charger.id] = [waiting("It has begun.")]
        campaign = await fleet.campaign(chargers, at_once=2)
        fleet.dispatcher()
        await fleet.reach(campaign, Waiting=2, Queued=1)
        await until(lambda: _idle(fleet))
        await fleet.reach(campaign, Waiting=2, Queued=1)
        assert len(fleet.scripted.begun) == 2

    async def test_two_campaigns_of_a_kind_do_not_meet_at_a_charger(self, fleet: Fleet) -> None:
        chargers = await fleet.chargers(6)
        first, second = await fleet.campaign(chargers), await fleet.campaign(chargers)
        fleet.dispatcher()
        fleet.dispatcher()
        await fleet.reach(first, Done=6)
        await fleet.reach(second, Done=6)
        assert fleet.scripted.twice == []
        assert len(fleet.scripted.begun) == 12

    async def test_who_is_away_is_set_aside_without_being_asked(self, fleet: Fleet) -> None:
        here, gone = await fleet.chargers(2), await fleet.chargers(250, online=False)
        (strange,) = await fleet.chargers(1, registration="Pending")
        campaign = await fleet.campaign([*here, *gone, strange], at_once=1)
        fleet.dispatcher()
        items = await fleet.reach(campaign, Done=2, Away=251)
        assert sorted(fleet.scripted.begun) == sorted(charger.id for charger in here)
        assert items[strange.id].state == ItemState.AWAY
        assert {items[charger.id].tries for charger in gone} == {0}
        assert (await fleet.row(campaign)).state == CampaignState.RUNNING

    async def test_retired_chargers_and_those_of_another_business_are_skipped(self, fleet: Fleet) -> None:
        retired, moved, kept = await fleet.chargers(3)
        other = await fleet.world.station()
        business = {"backoffice_id": str(kept.backoffice_id)}
        campaign = await fleet.campaign([retired, moved, kept], also=business)
        await fleet.change("UPDATE stations_charger SET retired_at = now() WHERE id = :id", id=retired.id)
        await fleet.change(
            "UPDATE stations_charger SET station_id = :station, backoffice_id = :owner WHERE id = :id",
            id=moved.id,
            station=other.id,
            owner=other.backoffice_id,
        )
        fleet.dispatcher()
        items = await fleet.reach(campaign, Done=1, Skipped=2)
        assert fleet.scripted.begun == [kept.id]
        assert items[retired.id].detail == "The charger was retired."
        assert items[moved.id].detail == "The charger belongs to another business now."
        assert (await fleet.row(campaign)).state == CampaignState.FINISHED

    async def test_one_that_has_only_skipped_chargers_is_finished(self, fleet: Fleet) -> None:
        (charger,) = await fleet.chargers(1)
        campaign = await fleet.campaign([charger])
        await fleet.change("UPDATE stations_charger SET retired_at = now()")
        fleet.dispatcher()
        await fleet.reach(campaign, Skipped=1)
        assert (await fleet.row(campaign)).state == CampaignState.FINISHED

    async def test_a_charger_that_is_deleted_in_the_midst_of_it_leaves_nothing_behind(
        self, fleet: Fleet
    ) -> None:
        gone, kept = await fleet.chargers(2)
        fleet.scripted.gate.clear()
        campaign = await fleet.campaign([gone, kept])
        fleet.dispatcher()
        await begun(fleet, 2)
        await fleet.change("DELETE FROM stations_charger WHERE id = :id", id=gone.id)
        fleet.scripted.gate.set()
        await fleet.reach(campaign, Done=1)
        assert (await fleet.row(campaign)).state == CampaignState.FINISHED

    async def test_one_large_campaign_does_not_keep_the_others_waiting(self, fleet: Fleet) -> None:
        """What may be begun in a turn is shared, though the large one has room for all of it."""
        large = await fleet.campaign(await fleet.chargers(20), at_once=100)
        small = await fleet.campaign(await fleet.chargers(4), at_once=100)
        async with fleet.database.session() as session:
            turn = await take_turn(session, [], kinds=fleet.kinds, now=fleet.clock.now(), at_most=8)
        assert turn.more
        assert len(turn.claimed) == 8
        await fleet.reach(large, Running=4, Queued=16)
        await fleet.reach(small, Running=4)

    async def test_a_wave_is_begun_with_a_few_at_a_time(
        self, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dispatching, "PER_SECOND", 1)
        monkeypatch.setattr(dispatching, "BURST", 3)
        fleet.scripted.gate.clear()
        await fleet.campaign(await fleet.chargers(8), at_once=8)
        process = fleet.dispatcher()
        process._budget = 3
        await begun(fleet, 3)
        began = time.monotonic()
        await begun(fleet, 8)
        assert time.monotonic() - began > 4 * dispatching.GATHER_SECONDS, "one a turn, when there is no more"


class TestPeople:
    async def test_a_pause_begins_nothing_more_and_lets_what_was_begun_come_to_its_end(
        self, fleet: Fleet
    ) -> None:
        fleet.scripted.gate.clear()
        campaign = await fleet.campaign(await fleet.chargers(5), at_once=2)
        fleet.dispatcher()
        await begun(fleet, 2)
        await fleet.tell(campaign, Event.PAUSE)
        fleet.scripted.gate.set()
        await fleet.reach(campaign, Done=2, Queued=3)
        await until(lambda: _idle(fleet))
        assert len(fleet.scripted.begun) == 2
        await fleet.tell(campaign, Event.RESUME)
        await fleet.reach(campaign, Done=5)
        assert (await fleet.row(campaign)).state == CampaignState.FINISHED

    async def test_a_cancel_ends_what_has_not_begun_and_writes_the_real_end_of_the_rest(
        self, fleet: Fleet
    ) -> None:
        chargers = sorted(await fleet.chargers(5), key=lambda charger: charger.id)
        good, silent, refused = chargers[:3]
        fleet.scripted.outcomes[silent.id] = [failed("It does not answer.", again=True)]
        fleet.scripted.outcomes[refused.id] = [failed("It said no.")]
        fleet.scripted.gate.clear()
        campaign = await fleet.campaign(chargers, at_once=3)
        fleet.dispatcher()
        await begun(fleet, 3)
        await fleet.tell(campaign, Event.CANCEL)
        await fleet.reach(campaign, Running=3, Cancelled=2)
        assert (await fleet.row(campaign)).finished_at is None
        fleet.scripted.gate.set()
        items = await fleet.reach(campaign, Done=1, Failed=1, Cancelled=3)
        assert (items[good.id].state, items[refused.id].state) == ("Done", "Failed")
        assert items[silent.id].state == "Cancelled", "it would have been tried again"
        row = await fleet.row(campaign)
        assert row.state == CampaignState.CANCELLED
        assert row.finished_at == fleet.clock.now()
        assert len(fleet.scripted.begun) == 3

    async def test_a_paused_one_of_which_nothing_is_left_is_finished(self, fleet: Fleet) -> None:
        fleet.scripted.gate.clear()
        campaign = await fleet.campaign(await fleet.chargers(1))
        fleet.dispatcher()
        await begun(fleet, 1)
        await fleet.tell(campaign, Event.PAUSE)
        fleet.scripted.gate.set()
        await fleet.reach(campaign, Done=1)
        assert (await fleet.row(campaign)).state == CampaignState.FINISHED


class TestErrorRate:
    async def test_too_many_failures_stop_it_and_a_resume_counts_anew(self, fleet: Fleet) -> None:
        chargers = sorted(await fleet.chargers(10), key=lambda charger: charger.id)
        for charger in chargers[:4]:
            fleet.scripted.outcomes[charger.id] = [failed("It said no.")]
        campaign = await fleet.campaign(chargers, at_once=1, stop_at_error_percent=50, stop_after_items=4)
        fleet.dispatcher()
        await fleet.reach(campaign, Failed=4, Queued=6)
        row = await fleet.row(campaign)
        assert row.state == CampaignState.STOPPED
        assert row.reason is not None
        assert "4 of 4 chargers failed" in row.reason
        fleet.clock.advance(1)
        await fleet.tell(campaign, Event.RESUME)
        await fleet.reach(campaign, Failed=4, Done=6)
        row = await fleet.row(campaign)
        assert (row.state, row.reason) == (CampaignState.FINISHED, None)

    async def test_a_charger_that_is_tried_again_is_no_failure_yet(self, fleet: Fleet) -> None:
        (charger,) = await fleet.chargers(1)
        fleet.scripted.outcomes[charger.id] = [failed("No answer.", again=True), done()]
        campaign = await fleet.campaign([charger], stop_at_error_percent=1, stop_after_items=1)
        fleet.dispatcher()
        await fleet.reach(campaign, Done=1)


class TestTries:
    async def test_a_failure_that_may_pass_is_tried_again_so_often_and_no_more(self, fleet: Fleet) -> None:
        (charger,) = await fleet.chargers(1)
        fleet.scripted.outcomes[charger.id] = [failed(f"Try {n}.", again=True, n=n) for n in range(1, 9)]
        campaign = await fleet.campaign([charger], tries=3)
        fleet.dispatcher()
        item = (await fleet.reach(campaign, Failed=1))[charger.id]
        assert (item.tries, item.detail, item.evidence) == (3, "Try 3.", {"n": 3})
        assert fleet.scripted.begun == [charger.id] * 3

    async def test_it_is_not_tried_before_its_time_and_a_job_is_queued_for_that(self, fleet: Fleet) -> None:
        (charger,) = await fleet.chargers(1)
        fleet.scripted.outcomes[charger.id] = [failed("No answer.", again=True)]
        campaign = await fleet.campaign([charger], retry_seconds=60)
        process = fleet.dispatcher()
        await until(lambda: _is(fleet, campaign, charger, tries=1, state="Queued"))
        process.wake()
        item = (await fleet.items(campaign))[charger.id]
        assert item.due_at == fleet.clock.now() + timedelta(seconds=60)
        assert await fleet.jobs() == [None, item.due_at]
        fleet.clock.advance(60)
        await fleet.reach(campaign, Done=1)

    async def test_a_failure_that_lasts_is_not_tried_again(self, fleet: Fleet) -> None:
        (charger,) = await fleet.chargers(1)
        fleet.scripted.outcomes[charger.id] = [failed("It said no.", status="Rejected")]
        campaign = await fleet.campaign([charger])
        fleet.dispatcher()
        item = (await fleet.reach(campaign, Failed=1))[charger.id]
        assert (item.tries, item.evidence) == (1, {"status": "Rejected"})
        assert (item.begun_at, item.ended_at) == (fleet.clock.now(), fleet.clock.now())

    @pytest.mark.parametrize(
        ("error", "detail"),
        [
            (RuntimeError("a secret of ours"), "This failed by a fault of ours; it is in our log."),
            (Unavailable("The database is away."), "The database is away."),
        ],
    )
    async def test_work_that_breaks_fails_its_item_and_nothing_else(
        self, fleet: Fleet, error: Exception, detail: str
    ) -> None:
        broken, good = await fleet.chargers(2)
        fleet.scripted.outcomes[broken.id] = [error, error, error]
        campaign = await fleet.campaign([broken, good])
        fleet.dispatcher()
        items = await fleet.reach(campaign, Failed=1, Done=1)
        assert (items[broken.id].state, items[broken.id].detail) == ("Failed", detail)
        assert items[good.id].state == "Done"

    async def test_work_that_does_not_end_is_cut_off(self, fleet: Fleet) -> None:
        (charger,) = await fleet.chargers(1)
        kind = fleet.scripted.kind
        limit = timedelta(milliseconds=20)
        fleet.kinds["Scripted"] = Kind("Scripted", kind.parameters, kind.apply, work_limit=limit)
        fleet.scripted.gate.clear()
        campaign = await fleet.campaign([charger])
        fleet.dispatcher()
        assert "cut off" in str((await fleet.reach(campaign, Failed=1))[charger.id].detail)

    async def test_a_kind_that_is_gone_fails_and_says_so(self, fleet: Fleet) -> None:
        (charger,) = await fleet.chargers(1)
        campaign = await fleet.campaign([charger])
        del fleet.kinds["Scripted"]
        fleet.dispatcher()
        item = (await fleet.reach(campaign, Failed=1))[charger.id]
        assert "does not know the kind" in str(item.detail)

    async def test_what_a_charger_says_is_kept_in_a_form_that_the_database_can_hold(
        self, fleet: Fleet
    ) -> None:
        odd, large = await fleet.chargers(2)
        fleet.scripted.outcomes[odd.id] = [done("a\0b", answer={"x\0": ["\0", None, 1.5]})]
        fleet.scripted.outcomes[large.id] = [done(answer="x" * EVIDENCE_BYTES)]
        campaign = await fleet.campaign([odd, large])
        fleet.dispatcher()
        items = await fleet.reach(campaign, Done=2)
        assert (items[odd.id].detail, items[odd.id].evidence) == ("ab", {"answer": {"x": ["", None, 1.5]}})
        assert "too many" in str(items[large.id].evidence)


async def _is(fleet: Fleet, campaign: Any, charger: Charger, **wanted: Any) -> bool:
    item = (await fleet.items(campaign))[charger.id]
    return all(getattr(item, name) == value for name, value in wanted.items())


async def _tried(fleet: Fleet, campaign: Any, charger: Charger) -> CampaignItem | None:
    item = (await fleet.items(campaign))[charger.id]
    return item if (item.tries, item.state) == (1, "Queued") else None


class TestAway:
    async def test_a_charger_that_leaves_is_waited_for(self, fleet: Fleet) -> None:
        (charger,) = await fleet.chargers(1)
        fleet.scripted.outcomes[charger.id] = [away("It left.")]
        campaign = await fleet.campaign([charger])
        fleet.dispatcher()
        item = (await fleet.reach(campaign, Away=1))[charger.id]
        assert (item.detail, item.ended_at, item.lease) == ("It left.", None, None)

    async def test_one_that_raises_that_it_is_away_is_taken_so_where_that_is_harmless(
        self, fleet: Fleet
    ) -> None:
        (charger,) = await fleet.chargers(1)
        for repeatable, state in ((True, "Away"), (False, "Failed")):
            kind = fleet.scripted.kind
            fleet.kinds["Scripted"] = Kind("Scripted", kind.parameters, kind.apply, repeatable=repeatable)
            fleet.scripted.outcomes[charger.id] = [ChargerOffline("It left before it answered.")]
            campaign = await fleet.campaign([charger])
            fleet.dispatcher()
            await fleet.reach(campaign, **{state: 1})

    async def test_one_that_is_there_although_it_could_not_be_asked_is_asked_a_little_later(
        self, fleet: Fleet
    ) -> None:
        (charger,) = await fleet.chargers(1)
        fleet.scripted.outcomes[charger.id] = [away("Others kept it busy.")]
        campaign = await fleet.campaign([charger], retry_seconds=30)
        process = fleet.dispatcher()
        process.means.links.attach(charger.id, FakeLink())
        item = await until(partial(_tried, fleet, campaign, charger))
        assert item.due_at == fleet.clock.now() + timedelta(seconds=30)
        fleet.clock.advance(30)
        await fleet.reach(campaign, Done=1)

    async def test_the_clock_finds_one_that_is_there_after_all(self, fleet: Fleet) -> None:
        charger, gone = await fleet.chargers(2, online=False)
        campaign = await fleet.campaign([charger, gone])
        fleet.dispatcher()
        await fleet.reach(campaign, Away=2)
        await fleet.change("UPDATE stations_charger SET online = true WHERE id = :id", id=charger.id)
        await fleet.mend()
        items = await fleet.reach(campaign, Done=1, Away=1)
        assert items[gone.id].state == "Away"

    async def test_one_that_leaves_whenever_it_is_asked_fails_in_the_end(self, fleet: Fleet) -> None:
        (charger,) = await fleet.chargers(1)
        fleet.scripted.outcomes[charger.id] = [away("It left.") for _ in range(LEAVES_AT_MOST + 5)]
        campaign = await fleet.campaign([charger])
        fleet.dispatcher()
        for tries in range(1, LEAVES_AT_MOST):
            await until(partial(_is, fleet, campaign, charger, tries=tries, state="Away"))
            await fleet.mend()
        item = (await fleet.reach(campaign, Failed=1))[charger.id]
        assert (item.tries, len(fleet.scripted.begun)) == (LEAVES_AT_MOST, LEAVES_AT_MOST)

    @pytest.mark.parametrize("repeatable", [True, False])
    async def test_one_that_another_process_holds_which_cannot_be_asked_is_asked_until_it_can(
        self, fleet: Fleet, *, repeatable: bool
    ) -> None:
        """Redis may be away for longer than all tries last, and a charger has no part in that."""
        kind = fleet.scripted.kind
        fleet.kinds["Scripted"] = Kind("Scripted", kind.parameters, kind.apply, repeatable=repeatable)
        (charger,) = await fleet.chargers(1)
        often = LEAVES_AT_MOST + 2
        fleet.scripted.outcomes[charger.id] = [ChargerUnreachable("Redis is away.") for _ in range(often)]
        campaign = await fleet.campaign([charger], tries=1)
        fleet.dispatcher()
        for number in range(1, often + 1):
            due_at = fleet.clock.now() + UNREACHED_AGAIN
            queued = {"state": "Queued", "tries": 0, "due_at": due_at, "lease": None}
            await until(partial(_is, fleet, campaign, charger, **queued))
            assert len(fleet.scripted.begun) == number
            fleet.clock.advance(UNREACHED_AGAIN.total_seconds())
            await fleet.mend()
        item = (await fleet.reach(campaign, Done=1))[charger.id]
        assert (item.tries, len(fleet.scripted.begun)) == (1, often + 1)
        assert (await fleet.row(campaign)).state == CampaignState.FINISHED

    async def test_one_that_cannot_be_asked_is_cancelled_with_its_campaign_and_set_aside_when_it_leaves(
        self, fleet: Fleet
    ) -> None:
        leaves, stays = await fleet.chargers(2)
        for charger in (leaves, stays):
            fleet.scripted.outcomes[charger.id] = [ChargerUnreachable("Redis is away.")] * 2
        campaign = await fleet.campaign([leaves, stays])
        fleet.dispatcher()
        await fleet.reach(campaign, Queued=2)
        await until(partial(_is, fleet, campaign, leaves, detail="Redis is away."))
        await until(partial(_is, fleet, campaign, stays, detail="Redis is away."))
        await fleet.change("UPDATE stations_charger SET online = false WHERE id = :id", id=leaves.id)
        fleet.scripted.gate.clear()
        fleet.clock.advance(UNREACHED_AGAIN.total_seconds())
        await fleet.reach(campaign, Away=1, Running=1)
        await fleet.tell(campaign, Event.CANCEL)
        fleet.scripted.gate.set()
        await fleet.reach(campaign, Cancelled=2)


class TestDeath:
    async def kill(self, fleet: Fleet, number: int) -> None:
        """Let a process claim work and die in the midst of it: its leases are renewed no more."""
        fleet.scripted.gate.clear()
        dead = fleet.dispatcher()
        await begun(fleet, number)
        fleet.dispatchers.remove(dead)
        assert dead._loop is not None  # as `kill -9` does, it says nothing of it
        dead._loop.cancel()
        for task in list(dead._work):
            task.cancel()
        await begun(fleet, 0)
        fleet.scripted.gate.set()

    async def test_what_a_killed_process_had_begun_is_begun_anew_where_that_is_harmless(
        self, fleet: Fleet
    ) -> None:
        chargers = await fleet.chargers(4)
        campaign = await fleet.campaign(chargers, at_once=2)
        await self.kill(fleet, 2)
        other = fleet.dispatcher()
        await fleet.mend()
        await fleet.reach(campaign, Queued=2, Running=2)
        assert len(other) == 0, "before the lease is over nobody may touch it"
        fleet.clock.advance(LEASE.total_seconds() + 1)
        await fleet.mend()
        items = await fleet.reach(campaign, Done=4)
        assert sorted(item.tries for item in items.values()) == [1, 1, 2, 2]
        assert (await fleet.row(campaign)).state == CampaignState.FINISHED

    async def test_where_it_is_not_harmless_the_item_fails_and_says_what_to_do(self, fleet: Fleet) -> None:
        kind = fleet.scripted.kind
        fleet.kinds["Scripted"] = Kind("Scripted", kind.parameters, kind.apply, repeatable=False)
        campaign = await fleet.campaign(await fleet.chargers(3), at_once=1)
        await self.kill(fleet, 1)
        fleet.clock.advance(LEASE.total_seconds() + 1)
        fleet.dispatcher()
        await fleet.mend()
        items = await fleet.reach(campaign, Done=2, Failed=1)
        (item,) = [one for one in items.values() if one.state == "Failed"]
        assert "whether the charger took it is not known" in str(item.detail)
        assert len(fleet.scripted.begun) == 3

    async def test_work_that_kills_its_process_each_time_is_given_up(self, fleet: Fleet) -> None:
        (charger,) = await fleet.chargers(1)
        campaign = await fleet.campaign([charger], tries=2)
        for _ in range(2):
            await self.kill(fleet, 1)
            fleet.clock.advance(LEASE.total_seconds() + 1)
            await fleet.mend()
        await fleet.reach(campaign, Failed=1)

    async def test_a_process_that_was_taken_for_dead_cannot_write_its_result_any_more(
        self, fleet: Fleet
    ) -> None:
        (charger,) = await fleet.chargers(1)
        fleet.scripted.gate.clear()
        campaign = await fleet.campaign([charger])
        fleet.dispatcher()
        await begun(fleet, 1)
        await fleet.change("UPDATE fleet_campaign_item SET lease = gen_random_uuid()")
        fleet.scripted.gate.set()
        await begun(fleet, 0)
        fleet.dispatchers[0].wake()
        await until(lambda: _idle(fleet))
        await fleet.reach(campaign, Running=1)

    async def test_leases_are_renewed_while_the_work_goes_on_and_a_lost_one_ends_it(
        self, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dispatching, "RENEW_SECONDS", 0.02)
        (charger,) = await fleet.chargers(1)
        fleet.scripted.gate.clear()
        campaign = await fleet.campaign([charger])
        fleet.dispatcher()
        await begun(fleet, 1)
        fleet.clock.advance(50)
        renewed = fleet.clock.now() + LEASE
        await until(lambda: _is(fleet, campaign, charger, lease_until=renewed))
        await fleet.change("UPDATE fleet_campaign_item SET lease = gen_random_uuid()")
        await begun(fleet, 0)

    async def test_work_is_cut_off_before_its_lease_is_over_when_it_cannot_be_renewed(
        self, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dispatching, "RENEW_SECONDS", 0.02)
        monkeypatch.setattr(dispatching, "RETRY_SECONDS", 0.02)
        (charger,) = await fleet.chargers(1)
        fleet.scripted.gate.clear()
        campaign = await fleet.campaign([charger])
        process = fleet.dispatcher()
        await begun(fleet, 1)

        async def no_turn() -> None:
            raise Unavailable("The database is away.")

        monkeypatch.setattr(process, "_turn", no_turn)
        monkeypatch.setattr(dispatching, "LAPSE_SECONDS", 0.1)
        await begun(fleet, 0)
        monkeypatch.undo()
        fleet.scripted.gate.set()
        assert (await fleet.reach(campaign, Done=1))[charger.id].tries == 2

    async def test_a_stop_puts_back_what_is_not_through_and_begins_nothing_more(self, fleet: Fleet) -> None:
        fleet.scripted.gate.clear()
        campaign = await fleet.campaign(await fleet.chargers(3), at_once=2)
        process = fleet.dispatcher()
        await begun(fleet, 2)
        await process.stop(0.05)
        await fleet.reach(campaign, Queued=3)
        assert len(fleet.scripted.begun) == 2
        fleet.scripted.gate.set()
        fleet.dispatcher()
        await fleet.reach(campaign, Done=3)

    async def test_a_stop_lets_chargers_answer_for_a_moment(self, fleet: Fleet) -> None:
        fleet.scripted.gate.clear()
        campaign = await fleet.campaign(await fleet.chargers(3), at_once=2)
        process = fleet.dispatcher()
        await begun(fleet, 2)
        stopping = asyncio.create_task(process.stop(5))
        await asyncio.sleep(0)
        fleet.scripted.gate.set()
        await stopping
        await fleet.reach(campaign, Done=2, Queued=1)

    async def test_results_are_kept_while_the_database_is_away(
        self, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dispatching, "RETRY_SECONDS", 0.02)
        (charger,) = await fleet.chargers(1)
        fleet.scripted.gate.clear()
        campaign = await fleet.campaign([charger])
        process = fleet.dispatcher()
        await begun(fleet, 1)
        turn, failures = process._turn, 3

        async def fails_at_first() -> Any:
            nonlocal failures
            if failures:
                failures -= 1
                raise Unavailable("The database is away.")
            return await turn()

        monkeypatch.setattr(process, "_turn", fails_at_first)
        fleet.scripted.gate.set()
        await fleet.reach(campaign, Done=1)
        assert failures == 0


async def _idle(fleet: Fleet) -> bool:
    return all(len(one) == 0 and not one._ended for one in fleet.dispatchers)
