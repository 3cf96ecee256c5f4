from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from tests.world import World

from ohmstead.accounts.authorization import TokenDecision, TokenFacts, authorize_token, decide
from ohmstead.accounts.models import Token, TokenStatus
from ohmstead.core.db import Database

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
LATER, EARLIER = NOW + timedelta(seconds=1), NOW - timedelta(seconds=1)

ACCEPTED, BLOCKED = TokenStatus.ACCEPTED, TokenStatus.BLOCKED
EXPIRED, INVALID = TokenStatus.EXPIRED, TokenStatus.INVALID

moments = st.none() | st.datetimes(
    datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)  # noqa: DTZ001 # bounds are naive here
) | st.sampled_from([NOW, LATER, EARLIER])  # fmt: skip
facts = st.builds(TokenFacts, st.sampled_from(TokenStatus), moments)


def may_charge(token: TokenFacts) -> bool:
    return token.status is ACCEPTED and (token.expires_at is None or token.expires_at > NOW)


class TestDecide:
    @pytest.mark.parametrize(
        ("token", "parent", "answer"),
        [
            (None, None, INVALID),
            (None, TokenFacts(ACCEPTED), INVALID),
            (TokenFacts(ACCEPTED), None, ACCEPTED),
            (TokenFacts(BLOCKED), None, BLOCKED),
            (TokenFacts(EXPIRED), None, EXPIRED),
            (TokenFacts(INVALID), None, INVALID),
            (TokenFacts(ACCEPTED, LATER), None, ACCEPTED),
            (TokenFacts(ACCEPTED, NOW), None, EXPIRED),
            (TokenFacts(ACCEPTED, EARLIER), None, EXPIRED),
            (TokenFacts(BLOCKED, EARLIER), None, BLOCKED),
            (TokenFacts(ACCEPTED), TokenFacts(ACCEPTED), ACCEPTED),
            (TokenFacts(ACCEPTED), TokenFacts(BLOCKED), BLOCKED),
            (TokenFacts(ACCEPTED), TokenFacts(EXPIRED), BLOCKED),
            (TokenFacts(ACCEPTED), TokenFacts(INVALID), BLOCKED),
            (TokenFacts(ACCEPTED), TokenFacts(ACCEPTED, EARLIER), BLOCKED),
            (TokenFacts(ACCEPTED, EARLIER), TokenFacts(BLOCKED), EXPIRED),
            (TokenFacts(INVALID), TokenFacts(BLOCKED), INVALID),
        ],
    )
    def test_the_table(
        self, token: TokenFacts | None, parent: TokenFacts | None, answer: TokenStatus
    ) -> None:
        assert decide(token, parent, NOW) is answer

    @given(facts, st.none() | facts)
    def test_accepted_means_that_the_token_and_its_parent_may_both_charge(
        self, token: TokenFacts, parent: TokenFacts | None
    ) -> None:
        both = may_charge(token) and (parent is None or may_charge(parent))
        assert (decide(token, parent, NOW) is ACCEPTED) == both

    @given(facts, st.none() | facts)
    def test_a_parent_never_makes_more_of_a_token_and_changes_only_to_blocked(
        self, token: TokenFacts, parent: TokenFacts | None
    ) -> None:
        alone, together = decide(token, None, NOW), decide(token, parent, NOW)
        assert together is alone or (alone is ACCEPTED and together is BLOCKED)

    @given(facts, st.none() | facts, st.timedeltas(timedelta(0), timedelta(days=3650)))
    def test_time_alone_never_makes_a_token_accepted_again(
        self, token: TokenFacts, parent: TokenFacts | None, passed: timedelta
    ) -> None:
        if decide(token, parent, NOW) is not ACCEPTED:
            assert decide(token, parent, NOW + passed) is not ACCEPTED


class TestAuthorizeToken:
    @pytest.fixture
    def ask(self, session: AsyncSession) -> Any:
        async def ask(id_tag: str, backoffice_id: Any = None) -> TokenDecision:
            return await authorize_token(session, id_tag=id_tag, backoffice_id=backoffice_id, now=NOW)

        return ask

    async def test_an_unknown_tag_is_invalid_and_nobody_s(self, ask: Any) -> None:
        assert await ask("NOBODY") == TokenDecision(INVALID)

    async def test_a_known_tag_comes_with_all_that_the_charger_is_told(self, ask: Any, world: World) -> None:
        business = await world.backoffice()
        token = await world.token(
            business.id, "Tag-1", expires_at=LATER, parent_id_tag="FLEET", max_concurrent_sessions=2
        )
        assert await ask("Tag-1", business.id) == TokenDecision(ACCEPTED, token.id, LATER, "FLEET", 2)

    @pytest.mark.parametrize("shown", ["abc-ÄÖ", "ABC-ÄÖ", "aBc-äö"])
    async def test_case_does_not_matter(self, ask: Any, world: World, shown: str) -> None:
        token = await world.token(None, "Abc-ÄÖ")
        assert (await ask(shown)).token_id == token.id

    @pytest.mark.parametrize("shown", ["A%", "A_C", "AB", "ABCD", "", " ABC", "A\x00C", "\x00"])
    async def test_a_tag_is_matched_whole_and_is_no_pattern(self, ask: Any, world: World, shown: str) -> None:
        await world.token(None, "ABC")
        assert (await ask(shown)).status is INVALID

    async def test_the_token_of_the_business_comes_before_the_one_for_everywhere(
        self, ask: Any, world: World
    ) -> None:
        business = await world.backoffice()
        everywhere = await world.token(None, "TAG")
        own = await world.token(business.id, "tag", status=BLOCKED)
        assert (await ask("TAG", business.id)).token_id == own.id
        assert (await ask("TAG", business.id)).status is BLOCKED
        assert (await ask("TAG", (await world.backoffice()).id)).token_id == everywhere.id
        assert (await ask("TAG", None)).token_id == everywhere.id

    async def test_another_business_s_token_is_invalid(self, ask: Any, world: World) -> None:
        await world.token((await world.backoffice()).id, "TAG")
        assert await ask("TAG", (await world.backoffice()).id) == TokenDecision(INVALID)
        assert await ask("TAG", None) == TokenDecision(INVALID)
        assert await ask("TAG", uuid4()) == TokenDecision(INVALID)

    async def test_expiry_is_by_the_time_handed_in(self, ask: Any, world: World) -> None:
        await world.token(None, "OLD", expires_at=NOW)
        decision = await ask("OLD")
        assert decision.status is EXPIRED
        assert decision.expires_at == NOW

    @pytest.mark.parametrize(
        ("parent", "answer"),
        [
            ({"status": BLOCKED}, BLOCKED),
            ({"status": INVALID}, BLOCKED),
            ({"expires_at": EARLIER}, BLOCKED),
            ({"expires_at": LATER}, ACCEPTED),
        ],
    )
    async def test_the_parent_s_own_token_is_asked_without_regard_to_case(
        self, ask: Any, world: World, parent: dict[str, Any], answer: TokenStatus
    ) -> None:
        business = await world.backoffice()
        await world.token(business.id, "Parent", **parent)
        await world.token(business.id, "CHILD", parent_id_tag="pARENT")
        decision = await ask("CHILD", business.id)
        assert decision.status is answer
        assert decision.parent_id_tag == "pARENT"

    async def test_the_parent_is_of_the_token_s_own_business_then_of_everywhere(
        self, ask: Any, world: World
    ) -> None:
        business, other = await world.backoffice(), await world.backoffice()
        await world.token(other.id, "PARENT", status=BLOCKED)
        await world.token(business.id, "CHILD", parent_id_tag="PARENT")
        assert (await ask("CHILD", business.id)).status is ACCEPTED
        await world.token(None, "PARENT", status=BLOCKED)
        assert (await ask("CHILD", business.id)).status is BLOCKED
        await world.token(business.id, "PARENT")
        assert (await ask("CHILD", business.id)).status is ACCEPTED

    @pytest.mark.parametrize("own_first", [True, False])
    @pytest.mark.parametrize("statuses", [(ACCEPTED, BLOCKED), (BLOCKED, ACCEPTED)])
    async def test_of_two_parents_the_own_business_s_counts_whichever_was_made_first(
        self,
        ask: Any,
        world: World,
        session: AsyncSession,
        statuses: tuple[TokenStatus, TokenStatus],
        own_first: bool,
    ) -> None:
        for plan in ("indexscan", "bitmapscan", "indexonlyscan"):  # an index would sort them by chance
            await session.execute(text(f"SET LOCAL enable_{plan} = off"))
        business = await world.backoffice()
        await world.token(business.id, "CHILD", parent_id_tag="PARENT")
        own, everywhere = statuses
        parents = [(business.id, own), (None, everywhere)]
        for backoffice_id, status in parents if own_first else reversed(parents):
            await world.token(backoffice_id, "PARENT", status=status)
        assert (await ask("CHILD", business.id)).status is own

    async def test_a_business_cannot_block_what_works_everywhere_by_a_parent_of_its_own(
        self, ask: Any, world: World
    ) -> None:
        business = await world.backoffice()
        await world.token(None, "CHILD", parent_id_tag="PARENT")
        await world.token(business.id, "PARENT", status=BLOCKED)
        assert (await ask("CHILD", business.id)).status is ACCEPTED

    async def test_circles_of_parents_end(self, ask: Any, world: World) -> None:
        await world.token(None, "SELF", parent_id_tag="SELF")
        await world.token(None, "A", parent_id_tag="B")
        await world.token(None, "B", parent_id_tag="A")
        assert [(await ask(tag)).status for tag in ("SELF", "A", "B")] == [ACCEPTED] * 3

    async def test_what_was_changed_a_moment_ago_counts(
        self, ask: Any, world: World, session: AsyncSession
    ) -> None:
        token = await world.token(None, "TAG")
        assert (await ask("TAG")).status is ACCEPTED
        await session.execute(update(Token).where(Token.id == token.id).values(status=BLOCKED))
        assert (await ask("TAG")).status is BLOCKED

    async def test_it_is_one_query(self, ask: Any, world: World, db: Database) -> None:
        await world.token(None, "PARENT")
        await world.token(None, "CHILD", parent_id_tag="PARENT")
        await ask("WARM UP")
        seen: list[str] = []

        def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
            seen.append(statement)

        event.listen(db.engine.sync_engine, "before_cursor_execute", note)
        try:
            assert (await ask("CHILD")).status is ACCEPTED
        finally:
            event.remove(db.engine.sync_engine, "before_cursor_execute", note)
        assert len(seen) == 1
