"""Lists out of tags and rules, and what has to be sent for them: pure functions."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import NOW

from ohmstead.accounts.models import TokenStatus
from ohmstead.fleet.local_lists.entries import (
    MAX_VERSION,
    Entries,
    KnownTag,
    Which,
    by_tag,
    difference,
    digest,
    due_updates,
    full_updates,
    next_version,
    updated,
    wanted_entries,
)

ALL = Which(all=True)


def tag(text: str, **fields: Any) -> KnownTag:
    return KnownTag(text, fields.pop("status", TokenStatus.ACCEPTED), **fields)


def told(entries: Entries) -> dict[str, str]:
    return {one["idTag"]: one["idTagInfo"]["status"] for one in entries.values()}


def test_an_entry_has_what_the_charger_would_be_told() -> None:
    expires = NOW + timedelta(hours=1)
    entries = wanted_entries([tag("A", expires_at=expires, parent_id_tag="P"), tag("b")], ALL, NOW)
    assert list(entries.values()) == [
        {
            "idTag": "A",
            "idTagInfo": {"status": "Accepted", "expiryDate": "2026-05-04T13:00:00.000Z", "parentIdTag": "P"},
        },
        {"idTag": "b", "idTagInfo": {"status": "Accepted"}},
    ]


def test_expired_and_blocked_ones_are_told_so_also_by_their_parent() -> None:
    tags = [
        tag("OLD", expires_at=NOW),
        tag("LOST", status=TokenStatus.BLOCKED),
        tag("CHILD", parent_id_tag="lost"),
        tag("FREE", parent_id_tag="nobody"),
    ]
    assert told(wanted_entries(tags, ALL, NOW)) == {
        "OLD": "Expired",
        "LOST": "Blocked",
        "CHILD": "Blocked",
        "FREE": "Accepted",
    }


def test_the_business_own_tag_comes_before_one_that_works_everywhere() -> None:
    tags = [tag("A", status=TokenStatus.BLOCKED), tag("a", own=False), tag("B", own=False)]
    assert told(wanted_entries(tags, ALL, NOW)) == {"A": "Blocked", "B": "Accepted"}


def test_the_parent_of_a_tag_for_everywhere_is_not_the_business_own() -> None:
    tags = [tag("P", status=TokenStatus.BLOCKED), tag("X", own=False, parent_id_tag="P")]
    assert told(wanted_entries(tags, ALL, NOW))["X"] == "Accepted"


@pytest.mark.parametrize(
    ("which", "names"),
    [
        (Which(), ""),
        (Which(all=True), "ABCE"),
        (Which(all=True, everywhere=False), "ABC"),
        (Which(all=True, statuses=frozenset({"Accepted"})), "ACE"),
        (Which(id_tags=frozenset({"a", "z"})), "A"),
        (Which(parents=frozenset({"family"})), "B"),
        (Which(owner_prefixes=("fleet ",)), "C"),
        (Which(owner_prefixes=("",)), "C"),
        (Which(id_tags=frozenset({"a"}), parents=frozenset({"family"}), owner_prefixes=("fleet",)), "ABC"),
        (Which(id_tags=frozenset({"a", "b"}), statuses=frozenset({"Blocked"})), "B"),
    ],
)
def test_a_rule_names_tags(which: Which, names: str) -> None:
    tags = [
        tag("A"),
        tag("B", parent_id_tag="FAMILY", status=TokenStatus.BLOCKED),
        tag("C", owner="Fleet North"),
        tag("E", own=False),
    ]
    assert "".join(told(wanted_entries(tags, which, NOW))) == names


def entries(**infos: str) -> Entries:
    return by_tag({"idTag": name, "idTagInfo": {"status": status}} for name, status in infos.items())


def test_a_difference_is_sent_as_one_message_with_removals_first() -> None:
    has, wanted = (
        entries(A="Accepted", B="Accepted", C="Accepted"),
        entries(A="Accepted", B="Blocked", D="Accepted"),
    )
    differs = difference(wanted, has)
    assert (differs.missing, differs.changed, differs.superfluous) == (["d"], ["b"], ["c"])
    [update] = due_updates(wanted, has, None)
    assert update.payload(7) == {
        "listVersion": 7,
        "updateType": "Differential",
        "localAuthorizationList": [
            {"idTag": "C"},
            {"idTag": "B", "idTagInfo": {"status": "Blocked"}},
            {"idTag": "D", "idTagInfo": {"status": "Accepted"}},
        ],
    }


def test_nothing_is_due_for_equal_lists() -> None:
    assert due_updates(entries(A="Accepted"), entries(A="Accepted"), None) == []


def test_another_case_of_a_tag_is_sent_as_a_whole_list() -> None:
    updates = due_updates(entries(a="Accepted", B="Accepted"), entries(A="Accepted", B="Accepted"), None)
    assert [one.kind for one in updates] == ["Full"]


def test_a_list_that_is_too_long_for_one_message_goes_out_in_parts() -> None:
    updates = full_updates(entries(A="Accepted", B="Accepted", C="Accepted"), 2)
    assert [(one.kind, len(one.entries)) for one in updates] == [("Full", 2), ("Differential", 1)]
    assert [(one.kind, one.entries) for one in full_updates({}, 2)] == [("Full", [])]


def test_versions_grow_above_0_and_begin_again_after_the_last_number_of_32_bits() -> None:
    assert [next_version(highest, full=False) for highest in (-1, 0, 1, 41)] == [1, 1, 2, 42]
    assert next_version(MAX_VERSION, full=True) == 1
    with pytest.raises(ValueError, match="Full"):
        next_version(MAX_VERSION, full=False)


names = st.text("AbBcC", min_size=1, max_size=2)
lists = st.dictionaries(names, st.sampled_from(["Accepted", "Blocked"]), max_size=8).map(
    lambda one: entries(**one)
)


@given(lists, lists, st.one_of(st.none(), st.integers(1, 3)))
def test_what_is_sent_makes_the_wanted_list_of_any_other(
    wanted: Entries, has: Entries, at_most: int | None
) -> None:
    result = has
    for update in due_updates(wanted, has, at_most):
        assert at_most is None or len(update.entries) <= at_most
        result = by_tag(update.entries) if update.kind == "Full" else updated(result, update.entries)
    assert digest(result) == digest(wanted)
    assert not difference(wanted, result)
