"""Files brought in as people bring them, and what is there then."""

from typing import Any

import httpx
from sqlalchemy import select
from tests.world import SignedIn

from ohmstead.accounts.models import Token
from ohmstead.core.db import Database
from ohmstead.stations.models import Charger, Connector, Station

CSV = {"Content-Type": "text/csv"}


async def bring(
    client: httpx.AsyncClient, user: SignedIn, what: str, *lines: str, dry_run: bool = False, **options: Any
) -> httpx.Response:
    content = options.get("content") or "\r\n".join(lines).encode()
    path = f"/api/admin/{what}.csv" + ("?dry_run=true" if dry_run else "")
    return await client.post(path, content=content, headers={**user.headers, **CSV})


async def listed(client: httpx.AsyncClient, user: SignedIn, what: str) -> list[dict[str, Any]]:
    answer = await client.get(f"/api/admin/{what}?limit=500", headers=user.headers)
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def kept(db: Database) -> list[list[dict[str, Any]]]:
    """All that the tables are of, as it stands in the database."""
    async with db.session() as session:
        return [
            without_times([dict(row) for row in (await session.execute(query)).mappings()])
            for query in (
                select(Station.__table__).order_by(Station.id),
                select(Charger.__table__).order_by(Charger.id),
                select(Connector.__table__).order_by(Connector.charger_id, Connector.connector_id),
                select(Token.__table__).order_by(Token.id),
            )
        ]


def without_times(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "updated_at"} for row in rows]


def places(rehearsal: dict[str, Any]) -> list[tuple[int, str | None]]:
    """The lines and columns of the faults that a dry run tells, in their order."""
    return [(one["line"], one["column"]) for one in rehearsal["faults"]]
