"""A charger that was adopted boots again, and so learns that it is accepted."""

from ohmstead.core.errors import DomainError
from ohmstead.link.links import ChargerBusy, ChargerOffline
from ohmstead.stations.disconnecting import disconnect
from ohmstead.stations.outcomes import Commands

SECONDS = 15.0
REASON = "the charger was adopted: boot again"


async def boot_again(commands: Commands, charger_id: str) -> None:
    """Ask a charger for its BootNotification (OCPP 1.6 5.17); one that does not want to loses its socket.

    Runs after the unit of work that adopted it. A charger that is away boots, or connects, by itself. Sockets
    that wait beside its own were let in by what is no longer true: they are closed.
    """
    commands.links.disconnect_waiting(charger_id, REASON)
    try:
        answer = await commands.send(
            charger_id,
            "TriggerMessage",
            {"requestedMessage": "BootNotification"},
            wait_seconds=SECONDS,
        )
    except ChargerBusy:
        answer = None
    except ChargerOffline:
        return
    except DomainError:
        answer = None
    if answer is None or answer.status != "Accepted":
        await disconnect(commands.links, [charger_id], REASON)
