"""`ohmstead serve` that kills itself (-9) between a commit and its answer, or just before the commit.

python -m tests.faults.failpoint before-commit|http-answer|ocpp-answer serve --port 9000
"""

import os
import signal
import sys
from typing import Any

import sqlalchemy.ext.asyncio
from sqlalchemy import text
from starlette.types import Message, Receive, Scope, Send

from ohmstead import cli
from ohmstead.core import db
from ohmstead.core.middleware import RequestScope
from ohmstead.gateway.protocol import ChargerProtocol

MARKER = "FAIL"


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before_commit() -> None:
    """Die when a unit of work that wrote a station named FAIL is about to commit."""

    class Session(sqlalchemy.ext.asyncio.AsyncSession):
        async def commit(self) -> None:
            if await self.scalar(text(f"SELECT 1 FROM stations_station WHERE name = '{MARKER}'")):  # noqa: S608 # ours
                die()
            await super().commit()

    setattr(db, "AsyncSession", Session)  # noqa: B010 # the failpoint replaces what the program uses


def http_answer() -> None:
    """Die when the first byte of the answer to a POST is about to leave."""
    serve = RequestScope.__call__

    async def call(self: RequestScope, scope: Scope, receive: Receive, send: Send) -> None:
        async def failing(message: Message) -> None:
            if message["type"] == "http.response.start" and scope["method"] == "POST":
                die()
            await send(message)

        await serve(self, scope, receive, failing if scope["type"] == "http" else send)

    RequestScope.__call__ = call  # type: ignore[method-assign] # as above


def ocpp_answer() -> None:
    """Die when the answer to a StartTransaction is about to leave."""
    send_frame = ChargerProtocol.send_frame

    def send(self: ChargerProtocol, text: str) -> bool:
        if '"transactionId"' in text:
            die()
        return send_frame(self, text)

    ChargerProtocol.send_frame = send  # type: ignore[method-assign] # as above


FAILPOINTS: dict[str, Any] = {
    "before-commit": before_commit,
    "http-answer": http_answer,
    "ocpp-answer": ocpp_answer,
}

if __name__ == "__main__":
    FAILPOINTS[sys.argv.pop(1)]()
    cli.main()
