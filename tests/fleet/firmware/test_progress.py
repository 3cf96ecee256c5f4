"""What a charger's words and boots make of an update, in whatever order they come."""

from itertools import permutations, product

import pytest

from ohmstead.fleet.firmware.models import OPEN, UpdateState
from ohmstead.fleet.firmware.progress import (
    FAILURES,
    ON_THE_WAY,
    confirmed_by_boot,
    same_version,
    state_after,
)

EVERY = sorted({*ON_THE_WAY, *FAILURES, "Installed", "Idle"})


def after(*words: str, tries: int = 0, may_open: bool = True) -> UpdateState:
    state, failures = UpdateState.ACCEPTED, 0
    for word in words:
        failures += word == "DownloadFailed"
        state = state_after(
            state, word, confirmed=False, tries_left=bool(tries) and failures <= tries, may_open=may_open
        )
    return state


def test_an_update_goes_its_way() -> None:
    unsigned = ("Downloading", "Downloaded", "Installing", "Installed")
    signed = ("DownloadScheduled", "Downloading", "Downloaded", "SignatureVerified", "Installing")
    assert after(*unsigned[:-1]) == UpdateState.RUNNING
    assert after(*unsigned) == UpdateState.INSTALLED
    assert after(*signed, "InstallRebooting", "Installed") == UpdateState.INSTALLED


def test_installed_is_the_end_in_whatever_order_the_words_come() -> None:
    for order in permutations(("Downloading", "Downloaded", "Installing", "Installed")):
        assert after(*order) == UpdateState.INSTALLED


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_ends_it_and_another_beginning_opens_it_again(failure: str) -> None:
    assert after("Downloading", failure) == UpdateState.FAILED
    assert after("Downloading", failure, failure) == UpdateState.FAILED
    assert after("Downloading", failure, "Downloading") == UpdateState.RUNNING
    assert after("Downloading", failure, "Downloading", may_open=False) == UpdateState.FAILED
    assert after("Downloading", failure, "Downloading", "Installed") == UpdateState.INSTALLED


def test_a_download_that_fails_is_awaited_as_often_as_it_may_be_tried() -> None:
    assert after("DownloadFailed", tries=2) == UpdateState.RUNNING
    assert after("DownloadFailed", "DownloadFailed", tries=2) == UpdateState.RUNNING
    assert after("DownloadFailed", "DownloadFailed", "DownloadFailed", tries=2) == UpdateState.FAILED
    assert after("InstallationFailed", tries=2) == UpdateState.FAILED


def test_idle_is_no_word_about_an_update() -> None:
    for state in UpdateState:
        assert state_after(state, "Idle", confirmed=False, tries_left=False, may_open=True) is state


def test_a_failure_after_installed_counts_unless_a_boot_has_confirmed_it() -> None:
    for failure, confirmed in product(FAILURES, (False, True)):
        state = state_after(
            UpdateState.INSTALLED, failure, confirmed=confirmed, tries_left=True, may_open=True
        )
        assert state is (UpdateState.INSTALLED if confirmed else UpdateState.FAILED)


def test_one_that_was_replaced_stays_so_while_another_is_open_unless_it_was_installed() -> None:
    for word in EVERY:
        state = state_after(UpdateState.REPLACED, word, confirmed=False, tries_left=False, may_open=False)
        assert state is (UpdateState.INSTALLED if word == "Installed" else UpdateState.REPLACED)


def test_no_word_leads_out_of_the_table() -> None:
    either = (False, True)
    for state, word in product(UpdateState, EVERY):
        for confirmed, tries_left, may_open in product(either, either, either):
            becomes = state_after(state, word, confirmed=confirmed, tries_left=tries_left, may_open=may_open)
            assert isinstance(becomes, UpdateState)
            if not may_open and state not in OPEN:
                assert becomes not in OPEN, "two updates of a charger would be open"


@pytest.mark.parametrize(
    ("state", "status", "expected", "before", "booted", "said"),
    [
        ("Installed", "Installed", "2.0", "1.0", "2.0", True),
        ("Installed", "Installed", "2.0", "1.0", " 2.0 ", True),
        ("Installed", "Installed", "v2.0", "1.0", "V2.0", True),
        ("Installed", "Installed", "2.0", "2.0", "2.0", True),
        ("Installed", "Installed", "2.0", "1.0", "1.0", False),
        ("Installed", "Installed", "2.0", "1.0", "3.0", False),
        ("Installed", "Installed", "2.0", "1.0", None, None),
        ("Installed", "Installed", None, "1.0", "1.1", True),
        ("Installed", "Installed", None, "1.0", "1.0", None),
        ("Running", "Installing", "2.0", "1.0", "2.0", True),
        ("Running", "Downloaded", "2.0", "1.0", "2.0", True),
        ("Running", "InstallRebooting", None, None, "2.0", True),
        ("Running", "Installing", "2.0", "1.0", "1.0", None),
        ("Running", "Installing", "2.0", "2.0", "2.0", None),
        ("Running", "Downloading", "2.0", "1.0", "2.0", None),
        ("Accepted", "Accepted", "2.0", "1.0", "2.0", None),
        ("Failed", "InstallationFailed", "2.0", "1.0", "2.0", None),
    ],
)
def test_a_boot_tells_whether_it_is_installed_where_it_can(
    *,
    state: str,
    status: str,
    expected: str | None,
    before: str | None,
    booted: str | None,
    said: bool | None,
) -> None:
    assert (
        confirmed_by_boot(
            state=UpdateState(state), status=status, expected=expected, before=before, booted=booted
        )
        is said
    )


def test_nothing_is_the_same_as_no_version() -> None:
    assert not same_version(None, None)
    assert not same_version("1", None)
