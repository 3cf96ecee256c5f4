"""A configuration change as the work of a campaign: keys, or those of a template, at one charger."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.principal import Principal
from ohmstead.core.errors import DomainError, Unavailable
from ohmstead.fleet.campaigns.work import Kind, Means, Outcome, away, done, failed, unanswered, unreached
from ohmstead.fleet.configuration.asking import NOT_SENT, Changed, change_keys
from ohmstead.fleet.configuration.models import ConfigurationTemplate
from ohmstead.fleet.configuration.schemas import ConfigurationWork
from ohmstead.fleet.configuration.templates_queries import get_template
from ohmstead.fleet.configuration.wanted import pairs_of
from ohmstead.link.links import ChargerOffline, ChargerUnreachable
from ohmstead.stations.models import Charger


async def apply(means: Means, charger_id: str, parameters: Mapping[str, Any]) -> Outcome:
    """Change the keys of a charger, all of them: what it refuses is a failure, and the rest is sent still.

    A key that wants a restart counts as done: nobody restarts a charger for it.
    """
    async with means.database.session() as session:
        pairs = await _pairs(session, charger_id, parameters)
    if pairs is None:
        return failed("The template does not exist any more, or is another business's than the charger.")
    try:
        changed = await change_keys(means.commands, charger_id, pairs)
    except ChargerUnreachable as error:
        return unreached(error.message)
    except ChargerOffline as error:
        return away(error.message)
    except Unavailable as error:
        return failed(error.message, again=True)
    except DomainError as error:
        return failed(error.message)
    return outcome_of(changed)


async def _pairs(
    session: AsyncSession, charger_id: str, parameters: Mapping[str, Any]
) -> list[tuple[str, str]] | None:
    """Return what is to be sent; None when the template is not there, or not for this charger."""
    work = ConfigurationWork.model_validate(dict(parameters))
    if work.keys is not None:
        return list(work.keys.items())
    template = await session.get(ConfigurationTemplate, work.template_id)
    charger = await session.get(Charger, charger_id)
    if template is None or charger is None or template.backoffice_id != charger.backoffice_id:
        return None
    return pairs_of(template)


def outcome_of(changed: list[Changed]) -> Outcome:
    """Return what came of a charger by what came of its keys; the worst of them counts."""
    evidence: dict[str, Any] = {"keys": {one.key: one.status for one in changed}}
    if any(one.status == "Offline" for one in changed):
        return away("The charger left before it had taken all keys.", **evidence)
    refused = [one.key for one in changed if one.status in {"Rejected", "NotSupported"}]
    if refused:
        return failed(f"The charger refused {_named(refused)}.", **evidence)
    for one in changed:
        if one.status in {"CallError", "Timeout"} and one.answer is not None:
            if one.answer.response is not None:
                return failed(f"The charger's answer for {one.key} is none of OCPP 1.6.", **evidence)
            return unanswered(f"ChangeConfiguration of {one.key}", one.answer, **evidence)
    if any(one.status == NOT_SENT for one in changed):
        return failed("The charger was too busy to take all keys.", again=True, **evidence)
    waiting = [one.key for one in changed if one.status == "RebootRequired"]
    return done(f"Takes effect after a restart: {_named(waiting)}." if waiting else "", **evidence)


def _named(keys: list[str]) -> str:
    return ", ".join(keys[:10]) + (f" and {len(keys) - 10} more" if len(keys) > 10 else "")


async def check(session: AsyncSession, principal: Principal, parameters: ConfigurationWork) -> None:
    """Refuse a template that the caller may not see. Raises `NotFound`."""
    if parameters.template_id is not None:
        await get_template(session, principal, UUID(str(parameters.template_id)))


KIND = Kind("Configuration", ConfigurationWork, apply, repeatable=True, check=check)
