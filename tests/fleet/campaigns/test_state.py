"""The tables of states, and the rules that read them."""

from datetime import timedelta

import pytest

from ohmstead.core.errors import Conflict
from ohmstead.fleet.campaigns.state import (
    AT_WORK,
    CAMPAIGN,
    ENDED,
    ITEM,
    OPEN,
    UNBEGUN,
    CampaignState,
    Event,
    ItemState,
    after_event,
    is_over_the_rate,
    require_move,
    retry_delay,
)

RUNNING, PAUSED, STOPPED = CampaignState.RUNNING, CampaignState.PAUSED, CampaignState.STOPPED
CANCELLED, FINISHED = CampaignState.CANCELLED, CampaignState.FINISHED


class TestCampaign:
    @pytest.mark.parametrize(
        ("before", "event", "after"),
        [
            (RUNNING, Event.PAUSE, PAUSED),
            (RUNNING, Event.RESUME, RUNNING),
            (RUNNING, Event.CANCEL, CANCELLED),
            (RUNNING, Event.STOP, STOPPED),
            (RUNNING, Event.FINISH, FINISHED),
            (PAUSED, Event.PAUSE, PAUSED),
            (PAUSED, Event.RESUME, RUNNING),
            (PAUSED, Event.CANCEL, CANCELLED),
            (PAUSED, Event.FINISH, FINISHED),
            (STOPPED, Event.RESUME, RUNNING),
            (STOPPED, Event.CANCEL, CANCELLED),
            (STOPPED, Event.FINISH, FINISHED),
            (CANCELLED, Event.CANCEL, CANCELLED),
        ],
    )
    def test_what_may_happen(self, before: CampaignState, event: Event, after: CampaignState) -> None:
        assert after_event(before, event) is after

    @pytest.mark.parametrize(
        ("state", "event"),
        [(state, event) for state in CampaignState for event in Event if event not in CAMPAIGN[state]],
    )
    def test_all_else_is_refused_with_what_to_do(self, state: CampaignState, event: Event) -> None:
        with pytest.raises(Conflict) as refused:
            after_event(state, event)
        assert refused.value.code == "CampaignState"
        assert state in refused.value.message
        assert "make a new one" in refused.value.message or "can be told to" in refused.value.message

    def test_nothing_leads_out_of_an_end(self) -> None:
        assert (
            {state for state, after in CAMPAIGN.items() if set(after.values()) <= {state}}
            == ENDED
            == {CANCELLED, FINISHED}
        )

    def test_every_state_can_be_reached_and_left_by_people_or_is_an_end(self) -> None:
        reached = {after for events in CAMPAIGN.values() for after in events.values()}
        assert reached == set(CampaignState)
        assert all(Event.CANCEL in CAMPAIGN[state] for state in CampaignState if state not in ENDED)


class TestItem:
    def test_what_is_begun_is_not_cancelled_but_for_what_would_begin_anew(self) -> None:
        assert ItemState.CANCELLED not in ITEM[ItemState.WAITING]
        assert all(ItemState.CANCELLED in ITEM[state] for state in UNBEGUN)

    def test_ends_are_ends(self) -> None:
        ends = {ItemState.DONE, ItemState.FAILED, ItemState.SKIPPED, ItemState.CANCELLED}
        assert set(ItemState) - OPEN == ends
        assert OPEN == UNBEGUN | AT_WORK

    def test_every_item_that_is_open_can_come_to_an_end(self) -> None:
        for state in OPEN:
            seen, todo = set(), {state}
            while todo:
                seen |= todo
                todo = {after for one in todo for after in ITEM[one]} - seen
            assert seen - OPEN, state

    def test_a_move_that_is_not_in_the_table_is_a_fault_of_ours(self) -> None:
        require_move(ItemState.QUEUED, ItemState.RUNNING)
        for before in ItemState:
            for after in set(ItemState) - ITEM[before]:
                with pytest.raises(ValueError, match=f"from {before} to {after}"):
                    require_move(before, after)


class TestErrorRate:
    @pytest.mark.parametrize(
        ("ended", "failed", "over"),
        [(0, 0, False), (9, 9, False), (10, 1, False), (10, 2, True), (11, 2, False), (100, 20, True)],
    )
    def test_it_is_a_percentage_of_what_is_through_once_enough_are(
        self, ended: int, failed: int, *, over: bool
    ) -> None:
        assert is_over_the_rate(ended, failed, percent=20, at_least=10) is over

    def test_none_never_stops(self) -> None:
        assert not is_over_the_rate(1000, 1000, percent=None, at_least=1)

    def test_all_is_all(self) -> None:
        assert is_over_the_rate(2, 2, percent=100, at_least=2)
        assert not is_over_the_rate(3, 2, percent=100, at_least=2)


@pytest.mark.parametrize(
    ("tries", "seconds", "delay"),
    [(1, 60, 60), (2, 60, 120), (3, 60, 240), (9, 60, 3600), (999, 1, 3600), (5, 0, 0)],
)
def test_a_retry_waits_twice_as_long_as_the_one_before_and_an_hour_at_most(
    tries: int, seconds: int, delay: int
) -> None:
    assert retry_delay(tries, seconds) == timedelta(seconds=delay)
