"""Facts that are written in groups: many rows, one statement, handed over as one JSON array.

JSON because psycopg builds array parameters in Python (43 us a row; JSON costs 2 us), and because one
parameter can hold nested values. A domain names its kinds of fact; the gateway's writer puts the
statements of all kinds of a group together into one.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import orjson
import psycopg

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class FactKind:
    """A kind of fact. Each of `statements` reads its rows from `%s::json` (json_to_recordset).

    `identity` tells which rows cannot stand in one statement together, because they change the same
    row: of those the last one counts, in the statements that `latest` marks. Groups are written side
    by side, so a statement must come out the same in whatever order two rows of its kind arrive.
    """

    name: str
    statements: tuple[str, ...]
    identity: Callable[[Row], Hashable] | None = None
    latest: tuple[bool, ...] = ()

    def parameters(self, rows: list[Row]) -> list[str]:
        """Return the parameter of each statement."""
        every = orjson.dumps(rows).decode()
        if self.identity is None:
            return [every] * len(self.statements)
        last = {self.identity(row): row for row in rows}
        newest = every if len(last) == len(rows) else orjson.dumps(list(last.values())).decode()
        return [newest if latest else every for latest in self.latest]


async def write_facts(connection: psycopg.AsyncConnection[Any], kind: FactKind, rows: list[Row]) -> None:
    """Write rows of one kind in the caller's transaction."""
    for statement, parameter in zip(kind.statements, kind.parameters(rows), strict=True):
        await connection.execute(statement.encode(), [parameter])
