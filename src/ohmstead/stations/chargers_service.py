"""Writes of chargers."""

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote
from uuid import UUID

from sqlalchemy import delete, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.audit import record_row, state
from ohmstead.accounts.models import Role
from ohmstead.accounts.passwords import new_secret, secret_hash
from ohmstead.accounts.principal import Principal
from ohmstead.core.errors import Conflict, Forbidden, Invalid
from ohmstead.stations import connectors, credentials, history
from ohmstead.stations.chargers_queries import get_charger
from ohmstead.stations.chargers_schemas import ChargerChange, ChargerIn
from ohmstead.stations.models import Charger, Registration
from ohmstead.stations.queries import get_station
from ohmstead.stations.service import counted, owner_of_new, require_backoffice, touch

PASSWORD_PROFILES = frozenset({1, 2})
"""Security profiles with HTTP Basic authentication (security whitepaper 3.3 and 3.4)."""

READ_AT_CONNECT = (
    "backoffice_id",
    "station_id",
    "registration",
    "ocpp_version",
    "security_profile",
    "password_hash",
    "tolerant",
    "simulated",
    "retired_at",
)
"""What a connection takes from the row when it begins: after a change of these it must begin anew."""

TOLD_BY_BOOT = frozenset({"registration", "station_id", "backoffice_id"})
"""What an open connection takes from the row again with its next BootNotification."""


@dataclass(frozen=True, slots=True)
class Written:
    """A charger that was written. `password` is set when we made it: the only time that it is known.

    `reconnect` says that its connection holds what is no longer true, `adopted` that it was taken on just
    now: it is to boot again.
    """

    charger: Charger
    password: str | None = None
    reconnect: bool = False
    adopted: bool = False


async def create_charger(
    session: AsyncSession, principal: Principal, now: datetime, wanted: ChargerIn, *, key: str
) -> Written:
    """Create a charger with its connectors.

    `key` is the installation's secret key, which passwords are hashed with. It belongs to the business
    of its station; without a station to the one that was named, or to the only one there is, or to
    none: then only a SystemAdmin sees it. Raises `Conflict` when the id is taken, by whomever.
    """
    values = wanted.model_dump(exclude={"connectors", "password", "station_id", "backoffice_id"})
    values["station_id"] = wanted.station_id
    if wanted.station_id is not None:
        values["backoffice_id"] = await _business_of_station(
            session, principal, wanted.station_id, wanted.backoffice_id
        )
    else:
        values["backoffice_id"] = await owner_of_new(session, principal, wanted.backoffice_id)
    made = None
    if wanted.password is None and wanted.security_profile in PASSWORD_PROFILES:
        made = new_secret()
    password = wanted.password or made
    values["password_hash"] = secret_hash(password, key=key) if password else None
    statement = (
        insert(Charger)
        .values(**values, owned_since=now, created_at=now, updated_at=now)
        .on_conflict_do_nothing()
        .returning(Charger)
    )
    charger = (await session.execute(statement)).scalar_one_or_none()
    if charger is None:
        raise await id_taken(session, principal, wanted.id) or Conflict(
            f"The charger {wanted.id} was deleted at this moment. Try again."
        )
    await connectors.declare(session, charger.id, wanted.connectors, now)
    told = wanted.model_dump(include={"connectors"})
    await record_row(session, "charger.created", charger, also=told)
    return Written(charger, made)


async def id_taken(session: AsyncSession, principal: Principal, charger_id: str) -> Conflict | None:
    """Return why a charger cannot be created with an id that there is, or None when there is none."""
    query = select(Charger.id, Charger.unregistered_since).where(Charger.id == charger_id)
    there = (await session.execute(query)).one_or_none()
    if there is None:
        return None
    if there.unregistered_since is None:
        message = (
            f"The charger id {charger_id} is taken. Ids are unique in the whole system: choose another one."
        )
        return Conflict(message, code="ChargerExists", fields={"id": "is taken"})
    path = f"PUT /api/admin/chargers/{quote(charger_id, safe='')}"
    if principal.role is Role.SYSTEM_ADMIN:
        why = f"has connected already and waits to be adopted: {path} with its station or business"
    else:
        why = f"has connected already and waits to be adopted: a SystemAdmin gives it to you ({path})"
    return Conflict(f"Charger {charger_id} {why}.", code="ChargerExists", fields={"id": why})


async def _business_of_station(
    session: AsyncSession, principal: Principal, station_id: UUID, asked: UUID | None
) -> UUID:
    station = await get_station(session, principal, station_id, lock=True)
    if asked not in {None, station.backoffice_id}:
        raise Invalid(
            "A charger belongs to the business of its station: leave out `backoffice_id`.",
            fields={"backoffice_id": "is not the business of the station"},
        )
    return station.backoffice_id


async def change_charger(
    session: AsyncSession,
    principal: Principal,
    now: datetime,
    charger_id: str,
    change: ChargerChange,
    *,
    key: str,
) -> Written:
    """Merge a change into a charger: what was not given stays.

    Raises `NotFound`, `Forbidden`, `Invalid` (a password that the profile needs) and `Conflict` (a
    connector with a history, sessions that forbid to change `simulated`). `key` as for `create_charger`.
    """
    if change.station_id is not None:  # stations are locked before chargers, as by a station that moves
        await get_station(session, principal, change.station_id, lock=True)
    charger = await get_charger(session, principal, charger_id, lock=True)
    given = change.model_fields_set
    before = state(charger)
    if "simulated" in given and change.simulated != charger.simulated:
        await _require_sessions_of_its_kind(session, charger)
    await _move(session, principal, charger, change)
    if before["backoffice_id"] not in {None, charger.backoffice_id}:
        charger.owned_since = now
    plain = given & {
        "name",
        "vendor",
        "model",
        "serial_number",
        "status",
        "registration",
        "ocpp_version",
        "security_profile",
        "tolerant",
        "simulated",
        "free_vend",
    }
    adopted = _adopt(charger, change)
    for name in plain:
        setattr(charger, name, getattr(change, name))
    if "retired" in given and change.retired != (charger.retired_at is not None):
        charger.retired_at = now if change.retired else None
    made = _set_password(charger, change, key)
    if charger.password_hash != before["password_hash"]:
        await credentials.forget_offers(session, charger.id, now)
    touch(charger, now)
    await session.flush()
    if "connectors" in given:
        await connectors.declare(session, charger.id, change.connectors, now)
    changed = {name for name in READ_AT_CONNECT if getattr(charger, name) != before[name]}
    told = change.model_dump(include={"connectors"} & given)
    action = "charger.adopted" if adopted else "charger.updated"
    await record_row(session, action, charger, before, also=told)
    if adopted:
        charger.boot_awaited = True
        changed -= TOLD_BY_BOOT
    return Written(charger, made, bool(changed), adopted)


def _adopt(charger: Charger, change: ChargerChange) -> bool:
    """Take on a charger that came by itself, when it is given to somebody or its registration is decided.

    It is accepted unless the change says otherwise, and keeps the password that it sent.
    """
    given = change.model_fields_set
    whose = (
        ("station_id" in given and change.station_id is not None)
        or ("backoffice_id" in given and change.backoffice_id is not None)
        or "registration" in given
    )
    if charger.unregistered_since is None or not whose:
        return False
    charger.unregistered_since = charger.unregistered_from = None
    charger.registration = Registration.ACCEPTED
    return True


async def _require_sessions_of_its_kind(session: AsyncSession, charger: Charger) -> None:
    """Refuse to make a charger simulated, or real, that has sessions as what it is now.

    What is simulated can be deleted with its sessions, and is left out of figures: real sessions must not
    get there, nor may simulated ones stay with a charger that is real.
    """
    sessions = await history.sessions_of_charger(session, charger.id, simulated=charger.simulated)
    if not sessions:
        return
    if charger.simulated:
        raise Conflict(
            f"Charger {charger.id} has {counted(sessions, 'simulated session')}, which would stay among real"
            f" ones. Delete it with them, by DELETE /api/admin/chargers/{quote(charger.id, safe='')}"
            "?simulated=true, and create it anew.",
            code="ChargerInUse",
            fields={"simulated": "it has simulated sessions"},
        )
    raise Conflict(
        f"Charger {charger.id} has {counted(sessions, 'real session')}, which could be deleted with it if it"
        " were simulated. Create another charger for simulations.",
        code="ChargerInUse",
        fields={"simulated": "it has real sessions"},
    )


async def _move(session: AsyncSession, principal: Principal, charger: Charger, change: ChargerChange) -> None:
    """Give the charger another station, or none, or another business.

    A charger without a station keeps its business; one with a station has the station's.
    """
    given = change.model_fields_set
    station_id = change.station_id if "station_id" in given else charger.station_id
    if station_id is not None and (station_id != charger.station_id or "backoffice_id" in given):
        asked = change.backoffice_id if "backoffice_id" in given else None
        charger.backoffice_id = await _business_of_station(session, principal, station_id, asked)
    elif "backoffice_id" in given and change.backoffice_id != charger.backoffice_id:
        if principal.role is not Role.SYSTEM_ADMIN:
            raise Forbidden("Only a SystemAdmin may give a charger to another business.")
        if change.backoffice_id is not None:
            await require_backoffice(session, change.backoffice_id)
        charger.backoffice_id = change.backoffice_id
    charger.station_id = station_id


def _set_password(charger: Charger, change: ChargerChange, key: str) -> str | None:
    """Set, clear or make the password; returns it when it was made here."""
    needed = charger.security_profile in PASSWORD_PROFILES
    cleared = "password" in change.model_fields_set and change.password is None
    if change.password is not None:
        if change.new_password:
            raise Invalid(
                "Give either `password` or `new_password`, not both.",
                fields={"new_password": "contradicts `password`"},
            )
        charger.password_hash = secret_hash(change.password, key=key)
        return None
    if cleared and needed and not change.new_password:
        raise Invalid(
            f"Security profile {charger.security_profile} needs a password, it cannot be cleared."
            ' Send {"new_password": true} for a new one, or change the profile.',
            fields={"password": f"is needed by security profile {charger.security_profile}"},
        )
    if change.new_password or (needed and charger.password_hash is None):
        made = new_secret()
        charger.password_hash = secret_hash(made, key=key)
        return made
    if cleared:
        charger.password_hash = None
    return None


async def delete_charger(
    session: AsyncSession, principal: Principal, charger_id: str, *, simulated: bool = False
) -> None:
    """Delete a charger without sessions, and all that was logged of it. Raises `Conflict` with sessions.

    `simulated` says that it must be a simulated one, whose simulated sessions go with it.
    """
    charger = await get_charger(session, principal, charger_id, lock=True)
    if simulated and not charger.simulated:
        raise Conflict(f"Charger {charger_id} is not simulated. Nothing was deleted.", code="NotSimulated")
    sessions = await history.sessions_of_charger(session, charger_id, simulated=False if simulated else None)
    if sessions:
        raise charger_in_use(charger_id, counted(sessions, "session"), simulated=charger.simulated)
    if simulated:
        await history.forget_simulated_sessions(session, [charger_id])
    await record_row(session, "charger.deleted", charger, gone=True)
    try:
        await session.delete(charger)
        await session.flush()
    except IntegrityError as error:  # a session began between the count and the delete
        raise charger_in_use(charger_id, "records that refer to it") from error
    await history.forget_traces(session, [charger_id])


def charger_in_use(charger_id: str, what: str, *, simulated: bool = False) -> Conflict:
    """Return the refusal to delete a charger, with what stands in the way."""
    hint = " It is simulated: ?simulated=true deletes its simulated sessions too." if simulated else ""
    return Conflict(
        f"Charger {charger_id} has {what} and cannot be deleted: its history would be lost."
        f' Retire it instead: PUT {{"retired": true}}.{hint}',
        code="ChargerInUse",
    )


async def delete_simulated(session: AsyncSession, principal: Principal) -> list[str]:
    """Delete every simulated charger of the caller, with its sessions, meter values and messages.

    Returns the ids. The rows are locked first, in the order of their ids, so that no session begins
    meanwhile. One with a session that was not simulated stays: it began while the charger was made
    simulated. Weeks of messages take long to delete: this unit of work may take ten minutes.
    """
    await session.execute(text("SET LOCAL statement_timeout = '10min'"))
    query = select(Charger).where(Charger.simulated).order_by(Charger.id).with_for_update()
    scoped = principal.within(query, Charger.backoffice_id, Charger.station_id)
    locked = list(await session.scalars(scoped))
    real = await history.with_real_sessions(session, [charger.id for charger in locked])
    going = [charger for charger in locked if charger.id not in real]
    for charger in going:
        await record_row(session, "charger.deleted", charger, gone=True)
    charger_ids = [charger.id for charger in going]
    if charger_ids:
        await history.forget_simulated_sessions(session, charger_ids)
        await session.execute(delete(Charger).where(Charger.id.in_(charger_ids)))
        await history.forget_traces(session, charger_ids)
    return charger_ids
