"""`/api/admin/chargers/{id}/configuration`, and a new password for a charger.

No unit of work is open while a charger is awaited: who asks, and whether the charger is theirs, is read in a
short one that has ended before the first command goes out.
"""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.access import Caller, require_permission
from ohmstead.accounts.limits import Subject, limited_caller
from ohmstead.accounts.principal import Principal
from ohmstead.core.db import Database
from ohmstead.core.http import Now, UnitOfWork
from ohmstead.core.openapi import refuses
from ohmstead.core.paging import Page, Paging
from ohmstead.core.text import Text
from ohmstead.fleet.configuration import asking, queries
from ohmstead.fleet.configuration.outcomes import change_status, checked_key
from ohmstead.fleet.configuration.schemas import (
    ChangeOut,
    ConfigurationOut,
    KeyChanged,
    KeysChanged,
    KeysIn,
    Refreshed,
    Rotated,
)
from ohmstead.fleet.configuration.templates_queries import get_template
from ohmstead.fleet.configuration.wanted import Wanted, wanted_of
from ohmstead.stations.attending import attended
from ohmstead.stations.chargers_queries import get_charger, seen_since
from ohmstead.stations.commands_endpoints import Commanded, Timeout
from ohmstead.stations.credentials import AUTHORIZATION_KEY, PERMISSION, is_authorization_key, new_key
from ohmstead.stations.outcomes import Commands
from ohmstead.stations.parameters import ChargerId

router = APIRouter(prefix="/api/admin/chargers/{charger_id}", tags=["Configuration"])

ASKS = {
    **refuses(409, "The charger is not connected, or left."),
    **refuses(429, "The charger is busy with earlier commands: this one was not sent."),
}
WORD_OF_PASSWORD = {"Accepted": "New", "Rejected": "Old", "NotSupported": "Old"}
Template = Annotated[UUID | None, Query(description="Hold the keys against this template instead.")]


async def _wanted(
    session: AsyncSession, principal: Principal, charger_id: str, template: UUID | None
) -> Wanted:
    charger = await get_charger(session, principal, charger_id)
    if template is None:
        return await wanted_of(session, charger)
    return Wanted.of(await get_template(session, principal, template))


@router.get(
    "/configuration",
    responses=ASKS,
    response_model_exclude_unset=True,
    dependencies=[limited_caller(Subject.COMMAND, only_if="refresh")],
)
async def get_charger_configuration(
    *,
    request: Request,
    principal: Caller,
    now: Now,
    charger_id: ChargerId,
    paging: Annotated[Paging, Depends()],
    refresh: Annotated[bool, Query(description="Ask the charger first, by GetConfiguration.")] = False,
    differs: Annotated[bool | None, Query(description="Only keys that differ, or only the others.")] = None,
    template: Template = None,
    wait_seconds: Timeout = None,
) -> ConfigurationOut:
    """Show the last known keys of a charger by name, what is wanted of them, and whether it differs.

    `refreshed` says what came of `refresh=true`: when the charger gives no list, what was known is shown.
    """
    database: Database = request.app.state.database
    commands: Commands = request.app.state.commands
    async with database.session() as session:
        wanted = await _wanted(session, principal, charger_id, template)
    refreshed = None
    if refresh:
        names = [key for key, _ in wanted.keys.values()]
        async with attended(request):
            answer = await asking.read_all(commands, charger_id, names, wait_seconds=wait_seconds)
        refreshed = Refreshed.of(answer.status if answer.response is None else "Accepted", answer)
        now = commands.clock.now()
    async with database.session() as session:
        charger = await get_charger(session, principal, charger_id)
        return await queries.show_configuration(
            session, charger, wanted, paging, now=now, differing=differs, refreshed=refreshed
        )


@router.put(
    "/configuration",
    responses=ASKS,
    response_model_exclude_unset=True,
    dependencies=[limited_caller(Subject.COMMAND)],
)
async def change_charger_configuration(
    *,
    request: Request,
    principal: Caller,
    charger_id: Commanded,
    body: KeysIn,
    wait_seconds: Timeout = None,
) -> KeysChanged:
    """Change keys by ChangeConfiguration, one after the other, and answer with what came of each.

    A key that the charger refuses does not keep the next ones from being sent; after one that it does not
    answer nothing more is sent. `AuthorizationKey` is the charger's password: it asks for the permission to
    change that.
    """
    for key, value in body.keys.items():
        if is_authorization_key(key):
            require_permission(principal, PERMISSION)
            checked_key(value)
    commands: Commands = request.app.state.commands
    async with attended(request):
        changed = await asking.change_keys(commands, charger_id, body.keys.items(), wait_seconds=wait_seconds)
    return KeysChanged(keys={one.key: KeyChanged.of(one.status, one.answer) for one in changed})


@router.get("/configuration/history")
async def list_configuration_changes(
    *,
    session: UnitOfWork,
    principal: Caller,
    charger_id: ChargerId,
    paging: Annotated[Paging, Depends()],
    key: Annotated[Text | None, Query(max_length=100, description="Only of this key, in any case.")] = None,
) -> Page[ChangeOut]:
    """List how the configuration of a charger changed, and by which command, the newest first."""
    charger = await get_charger(session, principal, charger_id)
    since = seen_since(principal, charger)
    return await queries.list_changes(session, charger_id, paging, key=key, since=since)


@router.post(
    "/rotate-password",
    responses=ASKS,
    response_model_exclude_unset=True,
    dependencies=[limited_caller(Subject.COMMAND)],
)
async def rotate_charger_password(
    *, request: Request, principal: Caller, charger_id: ChargerId, wait_seconds: Timeout = None
) -> Rotated:
    """Give the charger a new random password, which nobody is told (ChangeConfiguration of AuthorizationKey).

    It counts at once when the charger accepts it; a refusal changes nothing. Where nobody knows whether the
    charger has taken it, both let it in, and the one that it connects with next is kept.
    """
    database: Database = request.app.state.database
    commands: Commands = request.app.state.commands
    async with database.session() as session:
        await get_charger(session, principal, charger_id)
    payload = {"key": AUTHORIZATION_KEY, "value": new_key()}
    async with attended(request):
        answer = await commands.send(charger_id, "ChangeConfiguration", payload, wait_seconds=wait_seconds)
    status = change_status(answer)
    return Rotated.of(status, answer, password=WORD_OF_PASSWORD.get(status, "Both"))
