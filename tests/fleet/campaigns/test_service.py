"""Making campaigns, the end that a charger tells, arrivals, and what the clock puts right."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession
from tests.chargers import until
from tests.fleet.campaigns.conftest import Fleet

from ohmstead.accounts.models import Role
from ohmstead.accounts.principal import Principal
from ohmstead.core.errors import Conflict, Invalid
from ohmstead.fleet import arrivals
from ohmstead.fleet.campaigns import service
from ohmstead.fleet.campaigns.mending import forget_old
from ohmstead.fleet.campaigns.models import Campaign, CampaignItem
from ohmstead.fleet.campaigns.schemas import CampaignIn, Selection
from ohmstead.fleet.campaigns.service import PATIENCE
from ohmstead.fleet.campaigns.state import CampaignState, Event
from ohmstead.fleet.campaigns.work import Kind, waiting
from ohmstead.stations.models import Charger


async def chosen(fleet: Fleet, by: Principal, **selection: Any) -> list[str]:
    """Return who a selection would choose, and make sure that a campaign takes the same."""
    wanted = CampaignIn.model_validate({"kind": "Scripted", "chargers": selection})
    async with fleet.database.session() as session:
        told = await service.choose(session, by, fleet.clock.now(), wanted, fleet.kinds)
        if told.chargers:
            made = await service.create_campaign(session, by, fleet.clock.now(), wanted, fleet.kinds)
            items = select(CampaignItem.charger_id).where(CampaignItem.campaign_id == made.id)
            assert sorted(await session.scalars(items)) == told.charger_ids
        assert told.chargers == len(told.charger_ids)
    return told.charger_ids


class TestSelection:
    async def test_every_criterion_narrows_it(self, fleet: Fleet) -> None:
        admin = await fleet.principal(Role.SYSTEM_ADMIN)
        station = await fleet.world.station()
        one = await fleet.world.charger(
            station,
            "A-1",
            vendor="Alpha",
            model="Mini",
            firmware_version="1.0",
            online=True,
            name="At the gate",
            simulated=True,
        )
        two = await fleet.world.charger(station, "A-2", vendor="ALPHA", model="Max", firmware_version="2.0")
        three = await fleet.world.charger(id="B-1", vendor="Beta", model="Mini", firmware_version="1.0")
        await fleet.world.charger(station, "A-3", retired_at=fleet.clock.now(), vendor="Alpha")
        await fleet.world.add(Charger(id="A-4", vendor="Alpha", unregistered_since=fleet.clock.now()))
        for selection, ids in (
            ({"all": True}, [one.id, two.id, three.id]),
            ({"charger_ids": ["B-1", "A-1", "B-1"]}, [one.id, three.id]),
            ({"station_ids": [station.id]}, [one.id, two.id]),
            ({"backoffice_id": station.backoffice_id}, [one.id, two.id]),
            ({"vendor": "alpha"}, [one.id, two.id]),
            ({"vendor": "alpha", "model": "MINI"}, [one.id]),
            ({"firmware_version": "1.0"}, [one.id, three.id]),
            ({"online": True}, [one.id]),
            ({"online": False}, [two.id, three.id]),
            ({"simulated": False}, [two.id, three.id]),
            ({"q": "gate"}, [one.id]),
            ({"q": "mini", "vendor": "Beta"}, [three.id]),
            ({"q": "%"}, []),
            ({"charger_ids": ["A-1"], "online": False}, []),
        ):
            assert await chosen(fleet, admin, **selection) == ids, selection

    @pytest.mark.parametrize("selection", [{}, {"vendor": None}, {"all": True, "q": "x"}, {"all": False}])
    def test_one_must_say_which_or_all(self, selection: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="at least one criterion"):
            Selection.model_validate(selection)

    async def test_ids_that_are_not_the_callers_or_retired_are_named(self, fleet: Fleet) -> None:
        station = await fleet.world.station()
        (foreign,) = await fleet.chargers(1)
        mine = await fleet.world.charger(station)
        retired = await fleet.world.charger(station, retired_at=fleet.clock.now())
        business = await fleet.world.backoffice()
        by = await fleet.principal(Role.BACKOFFICE, business)
        by = Principal(by.user_id, by.email, by.role, station.backoffice_id)
        with pytest.raises(Invalid) as refused:
            await chosen(fleet, by, charger_ids=[mine.id, foreign.id, retired.id, "NOBODY"])
        told = refused.value.fields["chargers.charger_ids"]
        assert all(name in told for name in (foreign.id, retired.id, "NOBODY"))
        assert mine.id not in told

    async def test_a_business_chooses_among_its_own_and_owns_what_it_makes(self, fleet: Fleet) -> None:
        business = await fleet.world.backoffice()
        station = await fleet.world.station(business)
        mine = await fleet.world.charger(station)
        await fleet.chargers(2)
        by = await fleet.principal(Role.BACKOFFICE, business)
        assert await chosen(fleet, by, all=True) == [mine.id]
        async with fleet.database.session() as session:
            (row,) = (await session.scalars(select(Campaign))).all()
        assert (row.backoffice_id, row.created_by) == (business.id, by.user_id)

    async def test_that_of_a_systemadmin_belongs_to_the_business_that_was_named(self, fleet: Fleet) -> None:
        (charger,) = await fleet.chargers(1)
        alone = await fleet.campaign([charger])
        named = await fleet.campaign([charger], also={"backoffice_id": str(charger.backoffice_id)})
        assert (await fleet.row(alone)).backoffice_id is None
        assert (await fleet.row(named)).backoffice_id == charger.backoffice_id

    async def test_the_kind_may_refuse_what_the_caller_may_not_use(self, fleet: Fleet) -> None:
        async def refuse(session: AsyncSession, principal: Principal, parameters: Any) -> None:
            raise Invalid(f"Not for {principal.role}.")

        kind = fleet.scripted.kind
        fleet.kinds["Scripted"] = Kind("Scripted", kind.parameters, kind.apply, check=refuse)
        with pytest.raises(Invalid, match="Not for SystemAdmin"):
            await fleet.campaign(await fleet.chargers(1))

    async def test_thousands_of_named_chargers_are_not_all_shown(self, fleet: Fleet) -> None:
        chargers = await fleet.chargers(service.NAMED_SHOWN + 1)
        campaign = await fleet.campaign(chargers)
        selection = (await fleet.row(campaign)).selection
        assert len(selection["charger_ids"]) == service.NAMED_SHOWN
        assert selection["charger_ids_in_all"] == len(chargers)
        assert len(await fleet.items(campaign)) == len(chargers)


async def ended(fleet: Fleet, charger: Charger, *, ok: bool = True, kind: str = "Scripted") -> bool:
    """Tell the end as the handler of a charger's message does."""
    async with fleet.database.session() as session:
        return await service.item_ended(
            session,
            charger.id,
            kind,
            ok=ok,
            detail="It said so\0.",
            now=fleet.clock.now(),
            evidence={"status": "Installed"},
        )


class TestTheEndThatAChargerTells:
    async def begun(self, fleet: Fleet, number: int = 1, **fields: Any) -> tuple[UUID, list[Charger]]:
        chargers = await fleet.chargers(number)
        for charger in chargers:
            fleet.scripted.outcomes[charger.id] = [waiting("It has begun.", first=1)]
        campaign = await fleet.campaign(chargers, **fields)
        fleet.dispatcher()
        await fleet.reach(campaign, Waiting=number)
        return campaign, chargers

    @pytest.mark.parametrize(("ok", "state"), [(True, "Done"), (False, "Failed")])
    async def test_it_ends_the_item_and_the_campaign(self, fleet: Fleet, state: str, *, ok: bool) -> None:
        campaign, (charger,) = await self.begun(fleet)
        assert (await fleet.items(campaign))[charger.id].wait_until == fleet.clock.now() + timedelta(hours=2)
        assert await ended(fleet, charger, ok=ok)
        item = (await fleet.items(campaign))[charger.id]
        assert (item.state, item.detail, item.wait_until) == (state, "It said so.", None)
        assert item.evidence == {"first": 1, "status": "Installed"}
        assert (await fleet.row(campaign)).state == CampaignState.FINISHED

    async def test_it_makes_room_for_the_next(self, fleet: Fleet) -> None:
        first, second = sorted(await fleet.chargers(2), key=lambda charger: charger.id)
        fleet.scripted.outcomes[first.id] = [waiting("It has begun.")]
        campaign = await fleet.campaign([first, second], at_once=1)
        fleet.dispatcher()
        await fleet.reach(campaign, Waiting=1, Queued=1)
        before = len(await fleet.jobs())
        assert await ended(fleet, first)
        assert len(await fleet.jobs()) == before + 1
        await fleet.reach(campaign, Done=2)

    async def test_failures_that_are_told_count_for_the_error_rate(self, fleet: Fleet) -> None:
        campaign, chargers = await self.begun(fleet, 3, stop_at_error_percent=50, stop_after_items=2)
        await ended(fleet, chargers[0], ok=False)
        assert (await fleet.row(campaign)).state == CampaignState.RUNNING
        await ended(fleet, chargers[1], ok=False)
        assert (await fleet.row(campaign)).state == CampaignState.STOPPED

    async def test_nothing_waits_for_another_kind_or_twice(self, fleet: Fleet) -> None:
        campaign, (charger,) = await self.begun(fleet)
        assert not await ended(fleet, charger, kind="Firmware")
        assert await ended(fleet, charger)
        assert not await ended(fleet, charger, ok=False)
        assert (await fleet.items(campaign))[charger.id].state == "Done"

    async def test_an_end_that_comes_before_its_acceptance_is_written_is_kept_until_then(
        self, fleet: Fleet
    ) -> None:
        (charger,) = await fleet.chargers(1)
        fleet.scripted.outcomes[charger.id] = [waiting("It has begun.")]
        fleet.scripted.gate.clear()
        campaign = await fleet.campaign([charger])
        fleet.dispatcher()
        await fleet.reach(campaign, Running=1)
        assert await ended(fleet, charger)
        await fleet.reach(campaign, Running=1)
        fleet.scripted.gate.set()
        item = (await fleet.reach(campaign, Done=1))[charger.id]
        assert (item.detail, item.evidence, item.told) == ("It said so.", {"status": "Installed"}, None)

    async def test_who_never_tells_it_has_failed_after_its_time(self, fleet: Fleet) -> None:
        campaign, (charger,) = await self.begun(fleet)
        fleet.clock.advance(2 * 3600)
        await fleet.mend()
        assert (await fleet.items(campaign))[charger.id].state == "Waiting"
        fleet.clock.advance(1)
        await fleet.mend()
        item = (await fleet.items(campaign))[charger.id]
        assert (item.state, item.detail) == ("Failed", "The charger accepted, but never told the end.")
        assert item.evidence == {"first": 1}
        assert (await fleet.row(campaign)).state == CampaignState.FINISHED

    async def test_a_cancelled_campaign_still_takes_it(self, fleet: Fleet) -> None:
        campaign, (charger,) = await self.begun(fleet)
        await fleet.tell(campaign, Event.CANCEL)
        assert await ended(fleet, charger)
        row = await fleet.row(campaign)
        assert (row.state, row.finished_at) == (CampaignState.CANCELLED, fleet.clock.now())


class TestArrivals:
    async def test_a_charger_that_returns_is_done_a_moment_later(self, fleet: Fleet) -> None:
        (charger,) = await fleet.chargers(1, online=False)
        campaign = await fleet.campaign([charger])
        fleet.dispatcher()
        await fleet.reach(campaign, Away=1)
        await fleet.change("UPDATE stations_charger SET online = true")
        async with fleet.database.session() as session:
            await arrivals.connected(session, charger.id, fleet.clock.now())
        due = fleet.clock.now() + PATIENCE
        item = (await fleet.reach(campaign, Queued=1))[charger.id]
        assert item.due_at == due
        assert (await fleet.jobs())[-1] == due
        fleet.clock.advance(PATIENCE.total_seconds())
        await fleet.reach(campaign, Done=1)

    async def test_one_for_whom_nothing_waits_queues_nothing(self, fleet: Fleet) -> None:
        (charger,) = await fleet.chargers(1)
        async with fleet.database.session() as session:
            await arrivals.connected(session, charger.id, fleet.clock.now())
        assert await fleet.jobs() == []

    async def test_an_arrival_and_a_turn_that_takes_it_as_away_do_not_lose_each_other(
        self, fleet: Fleet
    ) -> None:
        """The turn has read that the charger is away and not committed; the arrival waits for it."""
        (charger,) = await fleet.chargers(1, online=False)
        campaign = await fleet.campaign([charger])
        async with fleet.database.session() as turn:
            query = select(CampaignItem).where(CampaignItem.campaign_id == campaign).with_for_update()
            item = (await turn.scalars(query)).one()
            item.state = "Away"
            await turn.flush()

            async def arrive() -> None:
                async with fleet.database.session() as session:
                    await arrivals.connected(session, charger.id, fleet.clock.now())

            arriving = asyncio.create_task(arrive())

            async def waits() -> bool:
                locks = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                async with fleet.database.session() as session:
                    return bool(await session.scalar(text(locks)))

            await until(waits)
        await arriving
        await fleet.reach(campaign, Queued=1)

    async def test_what_is_paused_is_not_begun_by_an_arrival(self, fleet: Fleet) -> None:
        (charger,) = await fleet.chargers(1)
        campaign = await fleet.campaign([charger])
        await fleet.tell(campaign, Event.PAUSE)
        async with fleet.database.session() as session:
            await arrivals.connected(session, charger.id, fleet.clock.now())
        fleet.clock.advance(60)
        fleet.dispatcher()
        await fleet.reach(campaign, Queued=1)
        assert fleet.scripted.begun == []


class TestTheClock:
    async def test_what_has_not_begun_when_the_time_is_over_is_skipped(self, fleet: Fleet) -> None:
        until_when = fleet.clock.now() + timedelta(hours=1)
        chargers = [*await fleet.chargers(1), *await fleet.chargers(2, online=False)]
        campaign = await fleet.campaign(chargers, ends_at=until_when.isoformat())
        fleet.dispatcher()
        await fleet.reach(campaign, Done=1, Away=2)
        fleet.clock.advance(3600)
        await fleet.mend()
        items = await fleet.reach(campaign, Done=1, Skipped=2)
        assert "was over before" in str(items[chargers[1].id].detail)
        assert (await fleet.row(campaign)).state == CampaignState.FINISHED

    async def test_retired_and_moved_chargers_that_are_away_are_skipped(self, fleet: Fleet) -> None:
        retired, moved, kept = await fleet.chargers(3, online=False)
        other = await fleet.world.station()
        business = {"backoffice_id": str(kept.backoffice_id)}
        campaign = await fleet.campaign([retired, moved, kept], also=business)
        fleet.dispatcher()
        await fleet.reach(campaign, Away=3)
        await fleet.change("UPDATE stations_charger SET retired_at = now() WHERE id = :id", id=retired.id)
        await fleet.change(
            "UPDATE stations_charger SET station_id = :station, backoffice_id = :owner WHERE id = :id",
            id=moved.id,
            station=other.id,
            owner=other.backoffice_id,
        )
        await fleet.mend()
        items = await fleet.reach(campaign, Away=1, Skipped=2)
        assert items[kept.id].state == "Away"

    async def test_a_campaign_whose_last_chargers_were_deleted_is_finished(self, fleet: Fleet) -> None:
        campaign = await fleet.campaign(await fleet.chargers(2, online=False))
        await fleet.change("DELETE FROM stations_charger")
        await fleet.mend()
        row = await fleet.row(campaign)
        assert (row.state, row.finished_at) == (CampaignState.FINISHED, fleet.clock.now())

    async def test_campaigns_that_were_over_long_ago_are_forgotten_with_their_items(
        self, fleet: Fleet
    ) -> None:
        chargers = await fleet.chargers(1)
        old, open_ = await fleet.campaign(chargers), await fleet.campaign(chargers)
        await fleet.tell(old, Event.CANCEL)
        fleet.clock.advance(10)
        async with fleet.database.session() as session:
            await forget_old(session, fleet.clock.now())
            left = set(await session.scalars(select(CampaignItem.campaign_id)))
        assert left == {open_}


async def test_everything_at_once_loses_nothing_and_locks_nobody_out(fleet: Fleet) -> None:
    """Three processes, ends that are told early and late, arrivals, pauses, and the clock."""
    chargers = await fleet.chargers(20)
    for charger in chargers[::2]:
        fleet.scripted.outcomes[charger.id] = [waiting("It has begun.")]
    campaigns = [await fleet.campaign(chargers, at_once=7) for _ in range(2)]
    for charger in chargers[::2]:
        fleet.scripted.outcomes[charger.id].append(waiting("It has begun."))
    for _ in range(3):
        fleet.dispatcher()
    over = asyncio.Event()

    async def tell_ends() -> None:
        while not over.is_set():
            for charger in chargers[::2]:
                await ended(fleet, charger)

    async def arrive() -> None:
        while not over.is_set():
            for charger in chargers:
                async with fleet.database.session() as session:
                    await arrivals.connected(session, charger.id, fleet.clock.now() - PATIENCE)

    async def disturb() -> None:
        while not over.is_set():
            await fleet.mend()
            for campaign in campaigns:
                try:
                    await fleet.tell(campaign, Event.PAUSE)
                    await fleet.tell(campaign, Event.RESUME)
                except Conflict:  # it is finished
                    await asyncio.sleep(0.01)

    others = [asyncio.create_task(work()) for work in (tell_ends, tell_ends, arrive, disturb)]
    try:
        for campaign in campaigns:
            await fleet.reach(campaign, Done=20)
    finally:
        over.set()
        await asyncio.gather(*others)
    for campaign in campaigns:
        assert (await fleet.row(campaign)).state == CampaignState.FINISHED
    assert fleet.scripted.twice == []
    assert len(fleet.scripted.begun) == 40
