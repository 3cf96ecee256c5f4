"""What a charger says, said to the service, each in a unit of work of its own."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from tests.conftest import NOW, FrozenClock

from ohmstead.charging import counting, service
from ohmstead.charging.metering import read_meter_values
from ohmstead.charging.models import Session
from ohmstead.charging.service import ChargerRef, Stop
from ohmstead.core.db import Database
from ohmstead.stations.models import Charger


def ref(charger: Charger, **changes: Any) -> ChargerRef:
    values = {
        "id": charger.id,
        "backoffice_id": charger.backoffice_id,
        "station_id": charger.station_id,
        "registration": charger.registration,
        "simulated": charger.simulated,
    }
    return ChargerRef(**{**values, **changes})


class Teller:
    """Says to the service what a charger says, each in a unit of work of its own."""

    def __init__(self, db: Database, clock: FrozenClock, charger: Charger) -> None:
        self.db = db
        self.clock = clock
        self.charger = charger

    async def start(
        self,
        tag: str = "TAG",
        *,
        at: datetime = NOW,
        meter: int = 0,
        connector: int = 1,
        charger: ChargerRef | None = None,
    ) -> service.Started:
        async with self.db.session() as session:
            return await service.start(
                session,
                charger or ref(self.charger),
                connector_id=connector,
                id_tag=tag,
                meter_start=meter,
                started_at=at,
                reservation_id=None,
                now=self.clock.now(),
            )

    async def stop(
        self,
        transaction_id: int | None,
        *,
        at: datetime | None = NOW + timedelta(hours=1),
        meter: int = 1000,
        data: list[dict[str, Any]] | None = None,
        reason: str = "Local",
        charger: ChargerRef | None = None,
    ) -> Session:
        raw = {"transactionId": transaction_id, "meterStop": meter, "timestamp": at and at.isoformat()}
        told = Stop(transaction_id, meter, at, None, reason, data or [], raw)
        async with self.db.session() as session:
            return await service.stop(session, charger or ref(self.charger), told, self.clock.now())

    async def values(
        self, transaction_id: int | None, *samples: tuple[datetime, int], connector: int = 1
    ) -> Session | None:
        added = await self.add(transaction_id, *samples, connector=connector)
        return None if added is None else added.session

    async def add(
        self, transaction_id: int | None, *samples: tuple[datetime, int], connector: int = 1
    ) -> counting.Added | None:
        metered = read_meter_values(
            [{"timestamp": at.isoformat(), "sampledValue": [{"value": str(wh)}]} for at, wh in samples],
            charger_id=self.charger.id,
            connector_id=connector,
            transaction_id=transaction_id,
            received_at=self.clock.now(),
        )
        async with self.db.session() as session:
            return await counting.add_meter_values(
                session, self.charger.id, metered, transaction_id, self.clock.now()
            )

    async def sessions(self) -> list[Session]:
        async with self.db.session() as session:
            query = select(Session).where(Session.charger_id == self.charger.id)
            return list((await session.scalars(query.order_by(Session.occurred_at, Session.id))).all())

    async def again(self, row: Session) -> Session:
        async with self.db.session() as session:
            found = await session.get(Session, row.id)
            assert found is not None
            return found


def wh(row: Session) -> float | None:
    """The energy of a session, as a number that compares with others."""
    return None if row.energy_wh is None else float(row.energy_wh)


def minutes(number: float) -> timedelta:
    return timedelta(minutes=number)
