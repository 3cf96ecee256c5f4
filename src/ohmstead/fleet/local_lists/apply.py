"""Sending local lists as the work of a campaign."""

from collections.abc import Mapping
from typing import Any

from pydantic import StrictBool

from ohmstead.core.errors import DomainError, Unavailable
from ohmstead.core.http import Schema
from ohmstead.fleet.campaigns.work import Kind, Means, Outcome, away, done, failed, unanswered, unreached
from ohmstead.fleet.local_lists.keeping import ASK, SEND
from ohmstead.fleet.local_lists.models import Ending
from ohmstead.fleet.local_lists.sending import Sent, send_list
from ohmstead.link.links import ChargerOffline, ChargerUnreachable


class LocalListWork(Schema):
    """What a campaign of local lists is given: `full` sends the whole list, wanted or not."""

    full: StrictBool = False


async def apply(means: Means, charger_id: str, parameters: Mapping[str, Any]) -> Outcome:
    """Make the list of a charger what its rule says."""
    work = LocalListWork.model_validate(dict(parameters))
    try:
        sent = await send_list(
            means.commands, charger_id, patience=means.settings.ocpp_call_timeout, full=work.full
        )
    except ChargerUnreachable as error:
        return unreached(error.message)
    except ChargerOffline as error:
        return away(error.message)
    except Unavailable as error:
        return failed(error.message, again=True)
    except DomainError as error:
        return failed(error.message, again=error.code == "LocalListBusy")
    return outcome_of(sent)


def outcome_of(sent: Sent) -> Outcome:
    """Return what came of a sending as a campaign counts it."""
    steps = [
        {
            "update_type": step.update_type,
            "version": step.version,
            "entries": step.entries,
            "status": str(step.status),
        }
        for step in sent.steps
    ]
    if sent.ending is None or sent.ending is Ending.ACCEPTED:
        return done(sent.detail, sent=steps)
    if sent.ending is Ending.OFFLINE:
        return away(sent.detail, sent=steps)
    without_word = sent.answer is not None and sent.answer.response is None
    if sent.ending in {Ending.TIMEOUT, Ending.CALL_ERROR} and sent.answer is not None and without_word:
        return unanswered(SEND if steps else ASK, sent.answer, sent=steps)
    return failed(sent.detail, sent=steps)


KIND = Kind("LocalList", LocalListWork, apply, repeatable=True)
