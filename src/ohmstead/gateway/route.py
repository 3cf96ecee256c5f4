"""How a message is served: what the files of `v16` offer, and what they are given."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.gateway.writer import Fact

if TYPE_CHECKING:
    from ohmstead.gateway.connection import ChargerConnection

__all__ = ["Context", "Fact", "Handler", "Hot", "HotHandler", "Payload", "Route"]

Payload = dict[str, Any]


@dataclass(slots=True)
class Hot:
    """A message that is written with the next group: its facts, its answer, and what follows.

    `after` runs once the group has committed, `failed` when it has not.
    """

    facts: list[Fact]
    response: Payload
    after: Callable[[], None] | None = None
    failed: Callable[[], None] | None = None


@dataclass(slots=True)
class Context:
    """What a handler of its own transaction is given. `after` runs once that has committed."""

    connection: "ChargerConnection"
    session: AsyncSession
    now: datetime
    after: list[Callable[[], None]] = field(default_factory=list)


HotHandler = Callable[["ChargerConnection", Payload, datetime], Hot | None]
Handler = Callable[[Context, Payload], Awaitable[Payload]]


@dataclass(frozen=True, slots=True)
class Route:
    """The way of one action: by the group if `hot` can (it returns None when not), else by `handler`."""

    handler: Handler
    hot: HotHandler | None = None
