"""Diagnostics as the work of a campaign: each charger is asked once, and brings its file."""

from datetime import timedelta
from typing import Any

from sqlalchemy import select

from ohmstead.core.errors import DomainError, Unavailable
from ohmstead.fleet.campaigns.work import (
    Kind,
    Means,
    Outcome,
    Parameters,
    away,
    done,
    failed,
    unanswered,
    unreached,
    waiting,
)
from ohmstead.fleet.diagnostics import service
from ohmstead.fleet.diagnostics.models import KIND as NAME
from ohmstead.fleet.diagnostics.models import OPEN, DiagnosticsState
from ohmstead.fleet.diagnostics.schemas import DiagnosticsIn, DiagnosticsWork
from ohmstead.fleet.locations import shown_location
from ohmstead.link.links import ChargerOffline, ChargerUnreachable
from ohmstead.stations.models import Charger

LONGEST_WAIT = timedelta(days=3660)
"""A job ends by itself when nothing is heard of it (`give_up_hours`), and tells the campaign."""


def shown(parameters: Parameters) -> Parameters:
    """Return the parameters without the password of a location."""
    location = parameters.get("location")
    return parameters if location is None else {**parameters, "location": shown_location(location)}


async def apply(means: Means, charger_id: str, parameters: Parameters) -> Outcome:
    """Ask one charger for its file. To ask twice does no harm: the second file is another one."""
    wanted = DiagnosticsWork.model_validate(parameters)
    async with means.database.session() as session:
        query = select(Charger).where(Charger.id == charger_id).with_for_update(key_share=True)
        charger = (await session.execute(query)).scalar_one_or_none()
        if charger is None:
            return failed("The charger was removed.")
        if not charger.online:
            return away("The charger is not connected.")
        plain = DiagnosticsIn.model_validate(wanted.model_dump(exclude={"kind"}))
        now = means.clock.now()
        begun = await service.begin(
            session, means.settings, charger, plain, now, kind=wanted.kind, by_campaign=True
        )
    try:
        row, answer = await service.ask(means.database, means.commands, means.clock, begun)
    except ChargerUnreachable as error:
        return unreached(error.message)
    except ChargerOffline as error:
        return away(error.message)
    except Unavailable:
        raise
    except DomainError as error:
        return failed(error.message)
    evidence: dict[str, Any] = {"diagnostics_id": str(row.id), "answer": answer.response}
    if row.state in OPEN:
        return waiting(f"The charger answered {answer.status}.", **evidence)
    if row.state == DiagnosticsState.DONE:
        return done("The file is here.", **evidence)
    if answer.response is None:
        return unanswered(begun.action, answer, diagnostics_id=str(row.id))
    return failed(row.detail, **evidence)


KIND = Kind(
    name=NAME,
    parameters=DiagnosticsWork,
    apply=apply,
    repeatable=True,
    shown=shown,
    wait_limit=LONGEST_WAIT,
)
