"""What the configuration makes of commands, whoever sent them: known keys, and the charger's password."""

from collections.abc import Callable

from pydantic import TypeAdapter, ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.core.errors import Invalid
from ohmstead.fleet.configuration import keeping
from ohmstead.fleet.configuration.keys import read_answer
from ohmstead.link.links import Answer
from ohmstead.stations import credentials
from ohmstead.stations.credentials import Sent, is_authorization_key, key_hash
from ohmstead.stations.outcomes import Asked, Outcomes, Told
from ohmstead.stations.texts import Password

_PASSWORD: TypeAdapter[str] = TypeAdapter(Password)
STATUSES = frozenset({"Accepted", "Rejected", "RebootRequired", "NotSupported"})
"""OCPP 1.6 7.21 ConfigurationStatus."""


def register(outcomes: Outcomes, signing_key: Callable[[], str]) -> None:
    """Put the hooks of the configuration in; `signing_key` gives the installation's secret key."""

    async def before_change(session: AsyncSession, asked: Asked) -> None:
        if is_authorization_key(asked.payload["key"]):
            value = checked_key(asked.payload["value"])
            await credentials.offer(session, asked.charger_id, key_hash(value, signing_key()), asked.now)

    async def after_change(session: AsyncSession, told: Told) -> None:
        key, value, status = told.payload["key"], told.payload["value"], change_status(told.answer)
        if is_authorization_key(key):
            await _decide(session, told, key_hash(value, signing_key()), status)
        await keeping.keep_change(session, told.charger_id, key, value, status=status, now=told.now)

    outcomes.before["ChangeConfiguration"].append(before_change)
    outcomes.after["ChangeConfiguration"].append(after_change)
    outcomes.after["GetConfiguration"].append(after_get)


def change_status(answer: Answer | None) -> str:
    """Return the charger's word for a ChangeConfiguration; `CallError`, `Timeout` or `Offline` where it has
    none. An answer without a status of the standard counts as a `CallError`: nobody knows what it means.
    """
    if answer is None:
        return "Offline"
    if answer.response is None:
        return answer.status
    status = answer.response.get("status")
    return status if isinstance(status, str) and status in STATUSES else "CallError"


def checked_key(value: str) -> str:
    """Return an AuthorizationKey that a charger can show at its handshake. Raises `Invalid`."""
    try:
        return _PASSWORD.validate_python(value)
    except ValidationError as error:
        fault = str(error.errors()[0]["msg"])
        raise Invalid(
            "An AuthorizationKey is the charger's password: 8 or more printable characters without spaces,"
            " best 40 hexadecimal digits. Nothing was sent.",
            fields={"value": fault},
        ) from None


async def after_get(session: AsyncSession, told: Told) -> None:
    """Keep what an answer to GetConfiguration says."""
    if told.answer is not None and told.answer.response is not None:
        asked: list[str] = told.payload.get("key", [])
        reading = read_answer(told.answer.response)
        await keeping.keep_reading(session, told.charger_id, asked, reading, told.now)


async def _decide(session: AsyncSession, told: Told, password_hash: str, status: str) -> None:
    if status == "Accepted":
        await credentials.accepted(session, told.charger_id, password_hash, told.now)
    elif status in {"Rejected", "NotSupported"}:
        await credentials.refused(session, told.charger_id, password_hash)
    else:
        state = Sent.AFTER_REBOOT if status == "RebootRequired" else Sent.UNANSWERED
        await credentials.undecided(session, told.charger_id, password_hash, state)
