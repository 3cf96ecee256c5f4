"""What work can come to, and which kinds there are."""

import pytest
from fastapi import FastAPI

from ohmstead.fleet.campaigns.work import (
    LASTING_ERRORS,
    OutcomeState,
    away,
    done,
    failed,
    unanswered,
    unreached,
    waiting,
)
from ohmstead.fleet.kinds import ALL, KINDS
from ohmstead.link.links import Answer


def test_an_outcome_says_how_and_keeps_the_chargers_answer() -> None:
    assert done("It took it.", response={"status": "Accepted"}).evidence == {
        "response": {"status": "Accepted"}
    }
    assert [one.state for one in (done(), failed("No."), waiting(), away(), unreached())] == list(
        OutcomeState
    )
    assert not failed("No.").again


def test_a_charger_that_does_not_answer_is_tried_again() -> None:
    outcome = unanswered("ChangeConfiguration", Answer(), key="A")
    assert (outcome.state, outcome.again, outcome.evidence) == (OutcomeState.FAILED, True, {"key": "A"})
    assert outcome.detail == "The charger did not answer ChangeConfiguration in time."


@pytest.mark.parametrize("code", ["InternalError", "GenericError", "Invented", ""])
def test_an_error_that_may_pass_is_tried_again(code: str) -> None:
    outcome = unanswered("Reset", Answer(error_code=code, error_description=""))
    assert outcome.again
    assert outcome.evidence == {"error": {"code": code, "description": ""}}
    assert (code or "(none)") in outcome.detail


@pytest.mark.parametrize("code", sorted(LASTING_ERRORS))
def test_an_error_that_the_same_call_would_get_again_is_not(code: str) -> None:
    outcome = unanswered("Reset", Answer(error_code=code, error_description="never heard of it"))
    assert not outcome.again
    assert outcome.detail == f"The charger answered Reset with the error {code}: never heard of it"


def test_every_kind_has_a_name_of_its_own_by_which_the_api_knows_it(app: FastAPI) -> None:
    assert [kind.name for kind in ALL] == list(KINDS)
    assert app.state.kinds == KINDS
    assert app.state.kinds is not KINDS, "what a test adds is not for every server"
    assert app.state.campaigns.kinds is app.state.kinds
