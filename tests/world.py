"""Rows for tests, made as short as a sentence."""

from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Any, Protocol
from uuid import UUID, uuid4

from ohmstead.accounts.access_tokens import issue
from ohmstead.accounts.models import Backoffice, Role, Token, User
from ohmstead.charging.models import Session, SessionStatus
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.stations.models import Charger, Connector, Station

NUMBERS = count(1)


class HasNow(Protocol):
    def now(self) -> datetime: ...


@dataclass
class SignedIn:
    """A user with a token of its own."""

    id: UUID
    email: str
    password: str | None
    role: Role
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


class World:
    """Makes businesses, users, stations, chargers, tokens and sessions, each committed at once."""

    def __init__(self, database: Database, settings: Settings, clock: HasNow) -> None:
        self.database = database
        self.settings = settings
        self.clock = clock

    async def add(self, *rows: Any) -> None:
        async with self.database.session() as session:
            for row in rows:
                session.add(row)
                await session.flush()

    async def backoffice(self, name: str | None = None, **fields: Any) -> Backoffice:
        row = Backoffice(id=uuid4(), name=name or f"Business {next(NUMBERS)}", **fields)
        await self.add(row)
        return row

    async def user(
        self,
        role: Role,
        backoffice: Backoffice | None = None,
        stations: tuple[Station, ...] = (),
        **fields: Any,
    ) -> SignedIn:
        """Make a user and sign it in; a Backoffice or an Operator gets a business when none is given."""
        if backoffice is None and role in {Role.BACKOFFICE, Role.OPERATOR}:
            backoffice = await self.backoffice()
        row = User(
            id=uuid4(),
            email=fields.pop("email", f"user-{uuid4().hex[:8]}@example.com"),
            role=role,
            backoffice_id=backoffice.id if backoffice else None,
            operator_station_ids=[station.id for station in stations],
            **fields,
        )
        await self.add(row)
        token = issue(self.settings, row, self.clock.now())
        return SignedIn(row.id, row.email, None, role, token)

    async def admin(self) -> SignedIn:
        return await self.user(Role.SYSTEM_ADMIN)

    async def station(self, backoffice: Backoffice | None = None, **fields: Any) -> Station:
        backoffice = backoffice or await self.backoffice()
        row = Station(
            id=uuid4(),
            backoffice_id=backoffice.id,
            name=fields.pop("name", f"Station {next(NUMBERS)}"),
            **fields,
        )
        await self.add(row)
        return row

    async def charger(
        self,
        station: Station | None = None,
        id: str | None = None,  # noqa: A002 # named as its column
        connectors: int = 2,
        **fields: Any,
    ) -> Charger:
        station = station or await self.station()
        row = Charger(
            id=id or f"CP-{uuid4().hex[:10]}",
            station_id=station.id,
            backoffice_id=station.backoffice_id,
            **fields,
        )
        numbers = range(1, connectors + 1)
        await self.add(row, *(Connector(charger_id=row.id, connector_id=number) for number in numbers))
        return row

    async def token(
        self, backoffice_id: UUID | None = None, id_tag: str | None = None, **fields: Any
    ) -> Token:
        row = Token(
            id=uuid4(), backoffice_id=backoffice_id, id_tag=id_tag or f"T{uuid4().hex[:12].upper()}", **fields
        )
        await self.add(row)
        return row

    async def session(self, charger: Charger, **fields: Any) -> Session:
        now = self.clock.now()
        values: dict[str, Any] = {
            "id": uuid4(),
            "ocpp_transaction_id": uuid4().int % 2_147_483_647 + 1,
            "charger_id": charger.id,
            "station_id": charger.station_id,
            "backoffice_id": charger.backoffice_id,
            "connector_id": 1,
            "id_tag": "TAG",
            "status": SessionStatus.ACTIVE,
            "started_at": now,
            "received_at": now,
            "meter_start": 0,
            "simulated": charger.simulated,
            **fields,
        }
        values.setdefault("occurred_at", values["started_at"] or values.get("stopped_at") or now)
        row = Session(**values)
        await self.add(row)
        return row
