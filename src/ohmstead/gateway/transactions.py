"""Messages that have a transaction of their own: all that do not go with a group."""

import asyncio
from collections.abc import Callable
from datetime import datetime

import psycopg
import structlog
from psycopg import errors as pg
from sqlalchemy.exc import DBAPIError

from ohmstead.core.db import Database
from ohmstead.core.errors import DomainError, Unavailable
from ohmstead.gateway.connection import ChargerConnection
from ohmstead.gateway.route import Context, Handler, Payload
from ohmstead.ocpp.errors import ErrorCode, OcppError

logger = structlog.stdlib.get_logger(__name__)

ATTEMPTS = 3
RETRIED = {"40P01", "40001", "23505"}
"""Deadlock, serialization failure, and a unique row that came from elsewhere in the same moment."""


class Transactions:
    """Serves messages one transaction each; `turn` bounds how many at once, so that HTTP has its share.

    `report_away` is called when the database does not answer.
    """

    def __init__(self, database: Database, turn: asyncio.Semaphore, report_away: Callable[[], None]) -> None:
        self._database = database
        self._turn = turn
        self._report_away = report_away

    async def serve(
        self, connection: ChargerConnection, handler: Handler, payload: Payload, now: datetime
    ) -> Payload:
        """Serve a message in one transaction, and return its answer when that has committed.

        Raises `OcppError` with the code for the charger. Deadlocks are tried again.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with self._turn, self._database.session() as session:
                    context = Context(connection, session, now)
                    response = await handler(context, payload)
                for effect in context.after:
                    effect()
            except OcppError:
                raise
            except Exception as error:
                if attempt < ATTEMPTS and _may_succeed_again(error):
                    continue
                raise self._refusal(connection, error) from error
            else:
                return response
        raise OcppError(ErrorCode.INTERNAL_ERROR, "the message could not be written: send it again")

    def _refusal(self, connection: ChargerConnection, error: Exception) -> OcppError:
        """Return what the charger is told of a message that could not be written."""
        if isinstance(error, Unavailable):
            self._report_away()
            away = "the database is away for the moment: send this again"
            return OcppError(ErrorCode.INTERNAL_ERROR, away)
        if isinstance(error, DomainError):
            return OcppError(ErrorCode.INTERNAL_ERROR, error.message)
        if isinstance(_driver_error(error), psycopg.DataError | pg.CheckViolation):
            return OcppError(
                ErrorCode.PROPERTY_CONSTRAINT_VIOLATION, "a value cannot be stored: mend and send again"
            )
        logger.error("gateway.message_failed", charger_id=connection.charger.id, exc_info=error)
        return OcppError(ErrorCode.INTERNAL_ERROR, "the message could not be processed; it is in our log")


def _driver_error(error: BaseException) -> psycopg.Error | None:
    """Return what the database said, from under what SQLAlchemy and the unit of work made of it."""
    for one in (error, error.__cause__):
        said = one.orig if isinstance(one, DBAPIError) else one
        if isinstance(said, psycopg.Error):
            return said
    return None


def _may_succeed_again(error: Exception) -> bool:
    """Tell whether the same message may be written if it is tried once more at once."""
    driver = _driver_error(error)
    if driver is not None:
        return driver.sqlstate in RETRIED
    return isinstance(error, DomainError) and not isinstance(error, Unavailable)
