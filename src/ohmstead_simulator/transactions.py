"""Transactions and the queue that carries their messages to the central system.

Every transaction-related message (StartTransaction, MeterValues of a transaction, StopTransaction)
passes through the queue, also while online: that keeps their order. While the charge point is away
they wait; afterwards they go out oldest first, with the time they were made and a new message id
(OCPP 1.6 3.7.1, 4.6).
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from ohmstead_simulator.errors import CallFailed, NoAnswer, Offline

Action = Literal["StartTransaction", "MeterValues", "StopTransaction"]


@dataclass(slots=True, eq=False)
class Transaction:
    """One charge, from the tag to the stop. `transaction_id` is None until the central system gave one."""

    connector_id: int
    id_tag: str
    started_at: datetime
    """By the charge point's own clock, as all times on the wire."""
    meter_start: int
    began: datetime
    """By the simulator's clock, which nothing sets back."""
    reservation_id: int | None = None
    transaction_id: int | None = None
    status: str | None = None
    """idTagInfo.status of StartTransaction.conf."""
    stop_reason: str | None = None
    samples: int = 0
    readings: list[dict[str, Any]] = field(default_factory=list)
    """MeterValues kept for transactionData of the stop."""

    @property
    def stopped(self) -> bool:
        """True once it has ended here, whether or not the central system knows."""
        return self.stop_reason is not None


@dataclass(slots=True, eq=False)
class Entry:
    """One message that waits for its delivery."""

    action: Action
    transaction: Transaction
    payload: dict[str, Any]
    delivered: asyncio.Future[Any]
    """Its answer; None when the message was given up after too many CALLERRORs."""
    attempts: int = 0


Send = Callable[[Entry], Awaitable[Any]]


class TransactionQueue:
    """First in, first out; the head is sent until it is answered or refused too often."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._filled = asyncio.Event()
        self.given_up = 0

    def __len__(self) -> int:
        return len(self._entries)

    def pending(self) -> list[Entry]:
        """What waits, oldest first."""
        return list(self._entries)

    def put(self, action: Action, transaction: Transaction, payload: dict[str, Any]) -> Entry:
        """Add a message; its `delivered` future resolves with the answer."""
        entry = Entry(action, transaction, payload, asyncio.get_running_loop().create_future())
        self._entries.append(entry)
        self._filled.set()
        return entry

    async def deliver(
        self,
        send: Send,
        sleep: Callable[[float], Awaitable[None]],
        max_attempts: Callable[[], int],
        retry_interval: Callable[[], int],
        on_given_up: Callable[[Entry, str], None],
    ) -> None:
        """Send for ever; ends when `send` raises Offline, and what was not answered stays at the head.

        After a CALLERROR or no answer it waits TransactionMessageRetryInterval x attempts and tries
        again, TransactionMessageAttempts times in all (OCPP 1.6 9.1.33).
        """
        while True:
            while self._entries:
                entry = self._entries[0]
                try:
                    answer = await send(entry)
                except (CallFailed, NoAnswer) as error:
                    entry.attempts += 1
                    if entry.attempts < max(1, max_attempts()):
                        await sleep(retry_interval() * entry.attempts)
                        continue
                    self.given_up += 1
                    self._done(entry, None)
                    on_given_up(entry, str(error))
                except Offline:
                    return
                else:
                    self._done(entry, answer)
            self._filled.clear()
            await self._filled.wait()

    def _done(self, entry: Entry, answer: Any) -> None:
        if self._entries and self._entries[0] is entry:
            self._entries.popleft()
        if not entry.delivered.done():
            entry.delivered.set_result(answer)
