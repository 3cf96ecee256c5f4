"""Times that come in are what RFC 3339 says: a bare number is none."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from pydantic import TypeAdapter, ValidationError
from tests.world import World

from ohmstead.core.times import MomentIn, TimeFilter

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


@pytest.mark.parametrize("kind", [MomentIn, TimeFilter])
class TestBoth:
    @pytest.mark.parametrize(
        "told", ["2026-05-04T12:00:00Z", "2026-05-04T14:00:00+02:00", "2026-05-04 12:00:00.000Z", NOON]
    )
    def test_a_time_with_its_offset_is_taken_as_utc(self, kind: Any, told: Any) -> None:
        assert TypeAdapter(kind).validate_python(told) == NOON

    @pytest.mark.parametrize(
        "told", [2026, "2026", "-1", "1777896000", 1777896000.5, True, "", "now", "20260504T120000Z", [], {}]
    )
    def test_what_is_no_time_is_refused_though_it_could_be_counted_from_1970(
        self, kind: Any, told: Any
    ) -> None:
        with pytest.raises(ValidationError, match="must be a time such as"):
            TypeAdapter(kind).validate_python(told)

    def test_one_that_leaves_the_calendar_is_refused(self, kind: Any) -> None:
        with pytest.raises(ValidationError, match="outside of the years"):
            TypeAdapter(kind).validate_python("0001-01-01T00:00:00+01:00")


def test_without_an_offset_only_a_filter_knows_what_is_meant() -> None:
    assert TypeAdapter(TimeFilter).validate_python("2026-05-04T12:00:00") == NOON
    assert TypeAdapter(TimeFilter).validate_python("2026-05-04").hour == 0
    with pytest.raises(ValidationError):
        TypeAdapter(MomentIn).validate_python("2026-05-04T12:00:00")


async def test_a_year_in_a_query_is_told_in_words(client: httpx.AsyncClient, world: World) -> None:
    admin = await world.admin()
    answer = await client.get("/api/admin/audit?from=2026", headers=admin.headers)
    assert (answer.status_code, answer.json()["fields"]) == (
        422,
        {"from": "must be a time such as 2026-05-04T12:00:00Z"},
    )
