"""Asking chargers for keys and changing them, with what each of the possible answers means.

What is learned is kept by the hooks of the commands (`outcomes`). No transaction is open meanwhile.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ohmstead.core.db import Database
from ohmstead.core.errors import DomainError, Unavailable
from ohmstead.fleet.configuration import keeping
from ohmstead.fleet.configuration.keys import MAX_KEYS, chunks, fold, read_answer
from ohmstead.fleet.configuration.outcomes import change_status
from ohmstead.link.links import Answer, ChargerBusy, ChargerOffline
from ohmstead.ocpp.masking import is_secret_name
from ohmstead.stations.outcomes import Commands

NOT_SENT = "NotSent"


@dataclass(frozen=True, slots=True)
class Changed:
    """What came of one key: the charger's word, or `CallError`, `Timeout`, `Offline`, `NotSent`."""

    key: str
    status: str
    answer: Answer | None = None


async def read_all(
    commands: Commands, charger_id: str, wanted: Collection[str] = (), *, wait_seconds: float | None = None
) -> Answer:
    """Ask a charger for all of its keys, then by name for those that it left out: known ones and `wanted`.

    Returns its answer, or the first failure. Raises `ChargerOffline`.
    """
    answer = await commands.send(charger_id, keeping.GET, {}, wait_seconds=wait_seconds)
    if answer.response is None:
        return answer
    mentioned = read_answer(answer.response).mentioned
    async with commands.database.session() as session:
        rows = await keeping.rows_of(session, charger_id)
        size = await keeping.known_max_keys(session, charger_id)
    known = [row.key for row in rows.values() if row.supported and not is_secret_name(row.key)]
    names = {fold(name): name for name in (*wanted, *known) if fold(name) not in mentioned}
    left_out = await read_keys(commands, charger_id, list(names.values()), size, wait_seconds=wait_seconds)
    return answer if left_out is None or left_out.response is not None else left_out


async def read_keys(
    commands: Commands,
    charger_id: str,
    names: list[str],
    size: int | None,
    *,
    wait_seconds: float | None = None,
) -> Answer | None:
    """Ask a charger for some keys, at most `size` at once; those that it passes over once more, one by one.

    Returns the last answer, or the first failure; None when there was nothing to ask. Raises
    `ChargerOffline`.
    """
    answer: Answer | None = None
    for chunk in chunks(names, size):
        answer = await commands.send(charger_id, keeping.GET, {"key": chunk}, wait_seconds=wait_seconds)
        if answer.response is None:
            return answer
        mentioned = read_answer(answer.response).mentioned
        for name in chunk if len(chunk) > 1 else ():
            if fold(name) not in mentioned:
                answer = await commands.send(
                    charger_id, keeping.GET, {"key": [name]}, wait_seconds=wait_seconds
                )
                if answer.response is None:
                    return answer
    return answer


async def find_max_keys(commands: Commands, database: Database, charger_id: str) -> Answer | int | None:
    """Return how many keys a charger may be asked for at once, asking it where it has never told.

    None when it does not say; its answer when that was a failure. Raises `ChargerOffline`.
    """
    async with database.session() as session:
        row = (await keeping.rows_of(session, charger_id, [MAX_KEYS])).get(MAX_KEYS)
    if row is None:
        answer = await read_keys(commands, charger_id, ["GetConfigurationMaxKeys"], 1)
        if answer is not None and answer.response is None:
            return answer
    async with database.session() as session:
        return await keeping.known_max_keys(session, charger_id)


async def change_keys(
    commands: Commands,
    charger_id: str,
    pairs: Iterable[tuple[str, str]],
    *,
    wait_seconds: float | None = None,
) -> list[Changed]:
    """Change keys in their order; what the charger says of one does not keep the others from being sent.

    Where it does not answer in time, or leaves, the rest is not sent. Raises `ChargerOffline` (and
    `ChargerBusy`) when nothing at all was sent.
    """
    changed: list[Changed] = []
    stopped = False
    for key, value in pairs:
        if stopped:
            changed.append(Changed(key, NOT_SENT))
            continue
        try:
            answer = await commands.send(
                charger_id, keeping.CHANGE, {"key": key, "value": value}, wait_seconds=wait_seconds
            )
        except Unavailable:
            raise
        except DomainError as error:
            if not changed:
                raise
            left = isinstance(error, ChargerOffline) and not isinstance(error, ChargerBusy)
            changed.append(Changed(key, "Offline" if left else NOT_SENT))
            stopped = True
        else:
            changed.append(Changed(key, change_status(answer), answer))
            stopped = answer.response is None and answer.error_code is None
    return changed
