"""A charger's socket as the endpoints of stations see it."""

from collections.abc import Awaitable, Callable
from datetime import datetime

from tests.conftest import NOW

from ohmstead.link.links import Answer


class FakeLink:
    """Keeps what it was asked and answers as told."""

    def __init__(self, *answers: Answer | Exception, last_seen: datetime = NOW) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[str, bytes, float | None]] = []
        self.disconnected: list[str] = []
        self.last_seen = last_seen
        self.while_waiting: Callable[[], Awaitable[None]] | None = None

    async def call(self, action: str, payload_json: bytes, *, wait_seconds: float | None = None) -> Answer:
        self.calls.append((action, payload_json, wait_seconds))
        if self.while_waiting is not None:
            await self.while_waiting()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def disconnect(self, reason: str) -> None:
        self.disconnected.append(reason)
