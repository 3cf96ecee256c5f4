"""The yardstick: what one writes with PyPI `ocpp` and `websockets` in an afternoon, without any storage.

Both packages run with their default settings and their normal schema checks. It gets help where that is fair:
uvloop, a listen queue that takes a boot storm, no log output, and answers that cost nothing to make.
"""

import argparse
import itertools
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import ocpp.messages
import uvloop
from ocpp.routing import on
from ocpp.v16 import ChargePoint, call_result
from ocpp.v16.datatypes import IdTagInfo
from ocpp.v16.enums import Action, AuthorizationStatus, RegistrationStatus
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

_transactions = itertools.count(1)
_ACCEPTED = IdTagInfo(status=AuthorizationStatus.accepted)


def _now() -> str:
    return datetime.now(UTC).isoformat()


class BarePoint(ChargePoint):  # type: ignore[misc]  # the package carries no types
    """Accepts everything and remembers nothing."""

    @on(Action.boot_notification)  # type: ignore[untyped-decorator]  # as above, and below
    def boot(self, **_: Any) -> call_result.BootNotification:
        """Accept, with a heartbeat interval of 300 s."""
        return call_result.BootNotification(
            current_time=_now(), interval=300, status=RegistrationStatus.accepted
        )

    @on(Action.heartbeat)  # type: ignore[untyped-decorator]
    def heartbeat(self) -> call_result.Heartbeat:
        """Tell the time."""
        return call_result.Heartbeat(current_time=_now())

    @on(Action.status_notification)  # type: ignore[untyped-decorator]
    def status(self, **_: Any) -> call_result.StatusNotification:
        """Say thanks."""
        return call_result.StatusNotification()

    @on(Action.meter_values)  # type: ignore[untyped-decorator]
    def meter_values(self, **_: Any) -> call_result.MeterValues:
        """Say thanks."""
        return call_result.MeterValues()

    @on(Action.authorize)  # type: ignore[untyped-decorator]
    def authorize(self, **_: Any) -> call_result.Authorize:
        """Let everybody charge."""
        return call_result.Authorize(id_tag_info=_ACCEPTED)

    @on(Action.start_transaction)  # type: ignore[untyped-decorator]
    def start_transaction(self, **_: Any) -> call_result.StartTransaction:
        """Give the next number."""
        return call_result.StartTransaction(transaction_id=next(_transactions), id_tag_info=_ACCEPTED)

    @on(Action.stop_transaction)  # type: ignore[untyped-decorator]
    def stop_transaction(self, **_: Any) -> call_result.StopTransaction:
        """Say thanks."""
        return call_result.StopTransaction(id_tag_info=_ACCEPTED)


async def _connected(connection: ServerConnection) -> None:
    request = connection.request
    identity = request.path.rsplit("/", 1)[-1] if request else "unknown"
    with suppress(ConnectionClosed):
        await BarePoint(identity, connection).start()


async def _run(port: int) -> None:
    async with serve(
        _connected, "127.0.0.1", port, subprotocols=[Subprotocol("ocpp1.6")], backlog=4096
    ) as server:
        await server.serve_forever()


def main() -> None:
    """Serve on 127.0.0.1 until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument(
        "--inline-validation",
        action="store_true",
        help="check schemas on the event loop and not, as is the package's default, in a thread pool",
    )
    arguments = parser.parse_args()
    ocpp.messages.ASYNC_VALIDATION = not arguments.inline_validation
    uvloop.run(_run(arguments.port))


if __name__ == "__main__":
    main()
