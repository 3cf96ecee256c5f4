"""Which password lets a charger in while it changes."""

from datetime import datetime, timedelta

import httpx
import pytest
from sqlalchemy import select
from tests.conftest import NOW, SECRET
from tests.world import World

from ohmstead.accounts.passwords import secret_hash
from ohmstead.core.db import Database
from ohmstead.core.errors import Conflict
from ohmstead.stations import credentials
from ohmstead.stations.credentials import OUT_AT_MOST, Sent, key_hash, matching, new_key
from ohmstead.stations.models import Charger, NextPassword

OLD, NEW, OTHER = (secret_hash(one, SECRET) for one in ("the old one", "the new one", "another one"))


def later(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


class Scene:
    """A charger whose password changes; each step is a transaction of its own."""

    def __init__(self, db: Database, charger_id: str) -> None:
        self.db = db
        self.charger_id = charger_id

    async def offer(self, password: str = NEW, minutes: float = 0) -> None:
        async with self.db.session() as session:
            await credentials.offer(session, self.charger_id, password, later(minutes))

    async def accepted(self, password: str = NEW) -> bool:
        async with self.db.session() as session:
            return await credentials.accepted(session, self.charger_id, password, NOW)

    async def refused(self, password: str = NEW) -> None:
        async with self.db.session() as session:
            await credentials.refused(session, self.charger_id, password)

    async def undecided(self, state: Sent, password: str = NEW) -> None:
        async with self.db.session() as session:
            await credentials.undecided(session, self.charger_id, password, state)

    async def used(self, password: str, minutes: float = 1) -> None:
        async with self.db.session() as session:
            await credentials.used(session, self.charger_id, password, later(minutes))

    async def let_in(self) -> tuple[str | None, set[str]]:
        """The charger's own password, and those that are accepted beside it."""
        async with self.db.session() as session:
            own = await session.scalar(select(Charger.password_hash).where(Charger.id == self.charger_id))
            beside = select(NextPassword.password_hash).where(NextPassword.charger_id == self.charger_id)
            return own, set(await session.scalars(beside))


@pytest.fixture
async def scene(db: Database, world: World) -> Scene:
    charger = await world.charger(security_profile=1, password_hash=OLD)
    return Scene(db, charger.id)


class TestOffers:
    async def test_an_offered_password_is_accepted_beside_the_old_one(self, scene: Scene) -> None:
        await scene.offer()
        assert await scene.let_in() == (OLD, {NEW})

    async def test_an_accepted_one_is_the_only_one(self, scene: Scene) -> None:
        await scene.offer()
        assert await scene.accepted()
        assert await scene.let_in() == (NEW, set())

    async def test_a_refused_one_changes_nothing(self, scene: Scene) -> None:
        await scene.offer()
        await scene.refused()
        assert await scene.let_in() == (OLD, set())

    @pytest.mark.parametrize("second", [NEW, OTHER])
    async def test_while_one_is_on_its_way_no_other_one_is_sent(self, scene: Scene, second: str) -> None:
        await scene.offer(NEW)
        with pytest.raises(Conflict, match="on its way"):
            await scene.offer(second, minutes=1)
        assert await scene.let_in() == (OLD, {NEW})

    async def test_one_that_a_killed_process_had_sent_is_in_the_way_for_as_long_as_a_call_may_last(
        self, scene: Scene
    ) -> None:
        minutes = OUT_AT_MOST.total_seconds() / 60
        await scene.offer(NEW)
        with pytest.raises(Conflict, match="on its way"):
            await scene.offer(OTHER, minutes=minutes - 1)
        await scene.offer(OTHER, minutes=minutes)
        assert await scene.let_in() == (OLD, {NEW, OTHER})
        assert await scene.accepted(OTHER)
        assert await scene.let_in() == (OTHER, set())

    @pytest.mark.parametrize("state", [Sent.UNANSWERED, Sent.AFTER_REBOOT])
    async def test_an_accepted_one_ends_those_from_before(self, scene: Scene, state: Sent) -> None:
        await scene.offer(NEW)
        await scene.undecided(state)
        await scene.offer(OTHER, minutes=1)
        assert await scene.accepted(OTHER)
        assert not await scene.accepted(NEW)
        assert await scene.let_in() == (OTHER, set())

    async def test_undecided_ones_are_few(self, scene: Scene) -> None:
        for number in range(credentials.UNDECIDED_AT_MOST):
            await scene.offer(f"{number:064}")
            await scene.undecided(Sent.UNANSWERED, f"{number:064}")
        await scene.offer(f"{0:064}")
        await scene.undecided(Sent.UNANSWERED, f"{0:064}")
        with pytest.raises(Conflict):
            await scene.offer(NEW)
        await scene.used(OLD)
        await scene.offer(NEW)

    async def test_a_charger_that_is_not_there_is_offered_nothing(self, db: Database) -> None:
        scene = Scene(db, "nobody")
        await scene.offer()
        assert not await scene.accepted()
        await scene.used(OLD)
        assert await scene.let_in() == (None, set())


class TestUsed:
    @pytest.mark.parametrize("state", list(Sent))
    async def test_the_new_one_is_the_charges_own_once_it_connects_with_it(
        self, scene: Scene, state: Sent
    ) -> None:
        await scene.offer()
        await scene.undecided(state)
        await scene.used(NEW)
        assert await scene.let_in() == (NEW, set())
        await scene.undecided(Sent.UNANSWERED)
        await scene.refused()
        assert await scene.let_in() == (NEW, set()), "the answer comes too late to matter"

    async def test_the_old_one_ends_what_was_not_answered(self, scene: Scene) -> None:
        await scene.offer()
        await scene.undecided(Sent.UNANSWERED)
        await scene.used(OLD)
        assert await scene.let_in() == (OLD, set())

    async def test_the_old_one_ends_nothing_that_was_sent_after_it_was_shown(self, scene: Scene) -> None:
        await scene.offer(minutes=5)
        await scene.undecided(Sent.UNANSWERED)
        await scene.used(OLD, minutes=1)
        assert await scene.let_in() == (OLD, {NEW})

    async def test_the_old_one_leaves_what_waits_for_a_restart_or_is_on_its_way(self, scene: Scene) -> None:
        await scene.offer()
        await scene.used(OLD)
        assert await scene.let_in() == (OLD, {NEW})
        await scene.undecided(Sent.AFTER_REBOOT)
        await scene.used(OLD, minutes=60 * 24 * 30)
        assert await scene.let_in() == (OLD, {NEW})

    async def test_what_a_killed_process_had_sent_is_given_up_like_the_unanswered(self, scene: Scene) -> None:
        await scene.offer()
        await scene.used(OLD, minutes=OUT_AT_MOST.total_seconds() / 60 + 1)
        assert await scene.let_in() == (OLD, set())

    async def test_a_password_that_is_not_the_chargers_any_more_decides_nothing(self, scene: Scene) -> None:
        await scene.offer()
        await scene.accepted()
        await scene.offer(OTHER, minutes=2)
        await scene.undecided(Sent.UNANSWERED, OTHER)
        await scene.used(OLD, minutes=3)
        assert await scene.let_in() == (NEW, {OTHER})


class TestByHand:
    async def test_a_password_set_by_hand_ends_what_was_offered_but_for_what_is_on_its_way(
        self, scene: Scene, client: httpx.AsyncClient, world: World
    ) -> None:
        for number, state in enumerate(reversed(Sent)):
            await scene.offer(f"{number:064}")
            await scene.undecided(state, f"{number:064}")
        admin = await world.admin()
        path = f"/api/admin/chargers/{scene.charger_id}"
        await client.put(path, headers=admin.headers, json={"name": "Another name"})
        assert len((await scene.let_in())[1]) == 3
        answer = await client.put(
            path, headers=admin.headers, json={"password": "set by hand".replace(" ", "-")}
        )
        assert answer.status_code == 200
        own, beside = await scene.let_in()
        assert own == secret_hash("set-by-hand", SECRET)
        assert beside == {f"{list(reversed(Sent)).index(Sent.OUT):064}"}


class TestMatching:
    def test_a_key_matches_as_digits_in_any_case_and_as_the_bytes_that_they_stand_for(self) -> None:
        for digits in (new_key(), "0123456789abcdefABCDEF0123456789abcdef01", "FF00" * 8):
            stored = key_hash(digits, SECRET)
            for shown in (digits.encode(), digits.lower().encode(), digits.upper().encode()):
                assert matching(shown, (stored,), SECRET) == stored
            assert matching(bytes.fromhex(digits), (stored,), SECRET) == stored
            assert matching(bytes.fromhex(digits)[:-1], (stored,), SECRET) is None

    def test_a_text_that_is_no_key_matches_in_its_own_case_only(self) -> None:
        for text in ("Correct-Horse", "ABCDEFG", "abc"):
            stored = key_hash(text, SECRET)
            assert matching(text.encode(), (stored,), SECRET) == stored
            assert matching(text.swapcase().encode(), (stored,), SECRET) is None

    def test_nothing_matches_nothing(self) -> None:
        assert matching(b"", (None,), SECRET) is None
        assert matching(b"", (), SECRET) is None
        assert matching(b"x", (key_hash("x", "old"),), SECRET, "old") is not None
        assert matching(b"x", (None, key_hash("x", SECRET)), SECRET) is not None

    def test_every_new_key_is_another_one_of_40_digits(self) -> None:
        keys = {new_key() for _ in range(50)}
        assert len(keys) == 50
        assert {len(key) for key in keys} == {40}
