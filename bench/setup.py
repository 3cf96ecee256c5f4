"""The database of a run: chargers and id tags put in at once, and afterwards the facts counted in it."""

from uuid import uuid4

import psycopg
from sqlalchemy import create_engine, func, insert, select

from bench.charger import id_tag, identity
from ohmstead.accounts.models import Backoffice, Token
from ohmstead.charging.models import ClosedBy, MeterValue, Session
from ohmstead.core.db import sqlalchemy_url
from ohmstead.stations.models import Charger, Connector, Station, StatusEvent

_CHARGERS_PER_STATION = 20


def register_chargers(url: str, n: int) -> None:
    """Register chargers 0 to n-1 (no password, two connector rows) and an id tag for each.

    They belong to one business with 20 chargers a station. `url` is a libpq URL of a migrated database.
    """
    business = uuid4()
    stations = [uuid4() for _ in range(-(-n // _CHARGERS_PER_STATION))]
    engine = create_engine(sqlalchemy_url(url))
    with engine.begin() as connection:
        connection.execute(insert(Backoffice), [{"id": business, "name": "Bench"}])
        connection.execute(
            insert(Station),
            [
                {"id": station, "backoffice_id": business, "name": f"Station {number}"}
                for number, station in enumerate(stations)
            ],
        )
        connection.execute(
            insert(Charger),
            [
                {
                    "id": identity(number),
                    "backoffice_id": business,
                    "station_id": stations[number // _CHARGERS_PER_STATION],
                }
                for number in range(n)
            ],
        )
        connection.execute(
            insert(Connector),
            [
                {"charger_id": identity(number), "connector_id": connector}
                for number in range(n)
                for connector in (0, 1)
            ],
        )
        connection.execute(
            insert(Token), [{"id_tag": id_tag(number), "backoffice_id": business} for number in range(n)]
        )
    engine.dispose()


def database_facts(url: str) -> dict[str, str]:
    """What the database is, and whether its commits are durable, as it reports itself."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT current_setting('server_version'), current_setting('fsync'),"
            " current_setting('synchronous_commit')"
        ).fetchone()
    assert row is not None
    return dict(zip(("PostgreSQL", "fsync", "synchronous_commit"), row, strict=True))


def stored_facts(url: str) -> dict[str, int]:
    """How many rows there are of each kind of fact that an answered message of that action makes."""
    count = func.count()
    questions = {
        "MeterValues": select(count).select_from(MeterValue),
        "StatusNotification": select(count).select_from(StatusEvent),
        "StartTransaction": select(count).select_from(Session).where(~Session.unmatched),
        "StopTransaction": select(count)
        .select_from(Session)
        .where(~Session.unmatched, Session.closed_by == ClosedBy.CHARGER),
    }
    engine = create_engine(sqlalchemy_url(url))
    with engine.connect() as connection:
        stored = {action: connection.scalars(question).one() for action, question in questions.items()}
    engine.dispose()
    return stored
