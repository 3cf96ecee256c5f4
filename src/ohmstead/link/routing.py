"""Calls to chargers whose socket another process holds: asked and answered over Redis.

A command is never sent twice, and never late. So it goes in two steps: the holder says that it is ready,
then gets the word to send; when that word does not come within `READY_SECONDS` (Redis hung, the asker gave
up) nothing is sent. While the charger thinks, the holder gives signs of life; when they end, so does the
call: then nobody knows whether the charger took it. The answer is repeated until the asker has it.
"""

import asyncio
import secrets
import time
from typing import Any

import structlog

from ohmstead.core.redis import Message, Redis, RedisAway
from ohmstead.core.tasks import end
from ohmstead.link.links import (
    Answer,
    ChargerBusy,
    ChargerLink,
    ChargerOffline,
    ChargerUnreachable,
    Links,
    caller_left,
    not_connected,
)
from ohmstead.link.presence import Presence

logger = structlog.stdlib.get_logger(__name__)

READY_SECONDS = 2.0
SIGN_SECONDS = 0.5
SILENT_SECONDS = 3.0
"""A holder that gives no sign for so long is gone; sooner if Redis knows that it does not listen."""
TRIES = 3
MOVING_SECONDS = 0.1
REPEATS = 10
REPEAT_SECONDS = 1.0
OWED_AT_MOST = 10_000
PAY_SECONDS = 3.0
"""When Redis is back the others may need a moment longer."""


class _Asked:
    """A call of this process: what the holder has said of it, and when it last gave a sign."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[bool] = loop.create_future()
        self.reply: asyncio.Future[Message] = loop.create_future()
        self.sent = False
        self.sign_at = 0.0


class _Served:
    """A call of another process, which this one puts to the charger."""

    def __init__(self) -> None:
        self.caller_left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.got = asyncio.Event()


class Routing:
    """The way to the chargers that are connected to other processes: what is `beyond` the `Links`."""

    def __init__(self, redis: Redis, links: Links, presence: Presence) -> None:
        self._redis = redis
        self._links = links
        self._presence = presence
        self._asked: dict[str, _Asked] = {}
        self._promised: dict[str, tuple[Message, float]] = {}
        self._served: dict[str, _Served] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._owed: dict[str, str] = {}
        for kind, handler in {
            "ask": self._take_ask,
            "ready": self._take_ready,
            "go": self._take_go,
            "sign": self._take_sign,
            "reply": self._take_reply,
            "got": self._take_got,
            "gone": self._take_gone,
            "disconnect": self._take_disconnect,
        }.items():
            redis.on(kind, handler)
        redis.on_back.append(self._pay_soon)

    async def stop(self) -> None:
        """Let the answers of chargers to other processes go out, for a moment, then end."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=REPEAT_SECONDS)
        await end(*self._tasks)

    # --- who asks

    async def call(
        self, charger_id: str, action: str, payload_json: bytes, *, wait_seconds: float | None = None
    ) -> Answer:
        """Put a CALL to a charger wherever its socket is; see `ChargerLink.call`."""
        for _ in range(TRIES):
            try:
                holder = await self._presence.holder(charger_id)
            except RedisAway as error:
                raise _cannot_ask(charger_id) from error
            here = self._links.get(charger_id)
            if here is not None:  # it has come to this process while that was asked
                return await here.call(action, payload_json, wait_seconds=wait_seconds)
            if holder is None:
                break
            question: Message = {
                "kind": "ask",
                "from": self._redis.process_id,
                "number": secrets.token_hex(16),
                "charger": charger_id,
                "action": action,
                "payload": payload_json.decode(),
                "wait": wait_seconds,
            }
            answer = await self._ask(holder, question)
            if answer is not None:
                return answer
            await asyncio.sleep(MOVING_SECONDS)  # it is about to be somewhere else, or nowhere
        raise not_connected(charger_id)

    def disconnect(self, charger_id: str, reason: str) -> None:
        """Close the sockets of a charger at all other processes; while Redis is away, when it is back."""

        def sent(answer: "asyncio.Future[Any]") -> None:
            if answer.exception() is not None and len(self._owed) < OWED_AT_MOST:
                self._owed[charger_id] = reason

        message = {
            "kind": "disconnect",
            "from": self._redis.process_id,
            "charger": charger_id,
            "reason": reason,
        }
        self._redis.tell_all_surely(message).add_done_callback(sent)

    def _pay_soon(self) -> None:
        if self._owed:
            asyncio.get_running_loop().call_later(PAY_SECONDS, self._pay)

    def _pay(self) -> None:
        owed, self._owed = self._owed, {}
        for charger_id, reason in owed.items():
            self.disconnect(charger_id, reason)

    async def _ask(self, holder: str, question: Message) -> Answer | None:
        """Ask the holder; None when it does not have the charger any more, and nothing was sent."""
        number, charger_id = question["number"], question["charger"]
        asked = self._asked[number] = _Asked()
        left = caller_left.get()
        try:
            if not await self._redis.reach(holder, question):
                raise _unreachable(charger_id)
            async with asyncio.timeout(READY_SECONDS):
                if not await asked.ready:
                    return None
            if left is not None and left.done():
                raise ChargerBusy(f"Nobody waits for this command to charger {charger_id} any more.")
            asked.sent, asked.sign_at = True, time.monotonic()
            if not await self._redis.reach(holder, {"kind": "go", "number": number}):
                raise _unreachable(charger_id)
            return _read(charger_id, await self._reply(holder, number, asked, left))
        except (RedisAway, TimeoutError) as error:
            raise (_unknown if asked.sent else _unreachable)(charger_id) from error
        finally:
            del self._asked[number]
            if not asked.reply.done():
                self._redis.tell(holder, {"kind": "gone", "number": number})

    async def _reply(
        self, holder: str, number: str, asked: _Asked, left: "asyncio.Future[None] | None"
    ) -> Message:
        """Wait for the charger's answer as long as the holder gives signs. Raises `TimeoutError`."""
        while True:
            looked_at = time.monotonic()
            waiting: set[asyncio.Future[Any]] = {asked.reply} if left is None else {asked.reply, left}
            await asyncio.wait(waiting, timeout=SIGN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if asked.reply.done():
                return asked.reply.result()
            if left is not None and left.done():
                left = None
                self._redis.tell(holder, {"kind": "gone", "number": number})
            now = time.monotonic()
            if now - looked_at > 2 * SIGN_SECONDS:
                # This process itself stood still: what was said meanwhile has come, and is not read yet.
                asked.sign_at = now
            silent = now - asked.sign_at
            if silent > SILENT_SECONDS or (silent > 2 * SIGN_SECONDS and not await self._listens(holder)):
                raise TimeoutError

    async def _listens(self, holder: str) -> bool:
        try:
            return await self._redis.listens(holder)
        except RedisAway:
            return True  # that is not known; it has the time that is left

    def _take_ready(self, message: Message) -> None:
        asked = self._asked.get(message["number"])
        if asked is not None and not asked.ready.done():
            asked.ready.set_result(message["here"])

    def _take_sign(self, message: Message) -> None:
        asked = self._asked.get(message["number"])
        if asked is not None:
            asked.sign_at = time.monotonic()

    def _take_reply(self, message: Message) -> None:
        asked = self._asked.get(message["number"])
        if asked is not None and not asked.reply.done():
            asked.reply.set_result(message)
        self._redis.tell(message["from"], {"kind": "got", "number": message["number"]})

    # --- who holds the socket

    def _take_ask(self, question: Message) -> None:
        number = question["number"]
        here = self._links.get(question["charger"]) is not None
        if here:
            self._promised[number] = question, time.monotonic() + READY_SECONDS
            asyncio.get_running_loop().call_later(READY_SECONDS, self._promised.pop, number, None)
        self._redis.tell(question["from"], {"kind": "ready", "number": number, "here": here})

    def _take_go(self, message: Message) -> None:
        question, until = self._promised.pop(message["number"], (None, 0.0))
        # Else it came too late, or was read too late by a process that stood still: who asked has given up.
        if question is not None and time.monotonic() < until:
            task = asyncio.get_running_loop().create_task(self._serve(question), name="call for another")
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("link.call_for_another_failed", exc_info=task.exception())

    async def _serve(self, question: Message) -> None:
        """Put a CALL to the charger, and tell who asked what came of it."""
        number, asker = question["number"], question["from"]
        served = self._served[number] = _Served()
        caller_left.set(served.caller_left)
        link = self._links.get(question["charger"])
        call = asyncio.create_task(_put(link, question))
        try:
            while not call.done():
                self._redis.tell(asker, {"kind": "sign", "number": number})
                await asyncio.wait({call}, timeout=SIGN_SECONDS)
            reply = {"kind": "reply", "from": self._redis.process_id, "number": number, **call.result()}
            for _ in range(REPEATS):
                self._redis.tell(asker, reply)
                try:
                    async with asyncio.timeout(REPEAT_SECONDS):
                        await served.got.wait()
                except TimeoutError:
                    continue
                break
        finally:
            call.cancel()
            del self._served[number]

    def _take_got(self, message: Message) -> None:
        served = self._served.get(message["number"])
        if served is not None:
            served.got.set()

    def _take_gone(self, message: Message) -> None:
        self._promised.pop(message["number"], None)
        served = self._served.get(message["number"])
        if served is not None and not served.caller_left.done():
            served.caller_left.set_result(None)

    def _take_disconnect(self, message: Message) -> None:
        if message["from"] != self._redis.process_id:
            self._links.disconnect_here(message["charger"], message["reason"])


async def _put(link: ChargerLink | None, question: Message) -> Message:
    """Put a CALL to a charger of this process; returns what came of it as JSON."""
    try:
        if link is None:
            raise not_connected(question["charger"])
        answer = await link.call(
            question["action"], question["payload"].encode(), wait_seconds=question["wait"]
        )
    except ChargerOffline as error:
        kind = "busy" if isinstance(error, ChargerBusy) else "offline"
        return {"error": kind, "message": error.message, "detail": error.detail}
    return {
        "answer": {
            "response": answer.response,
            "error_code": answer.error_code,
            "error_description": answer.error_description,
            "unusable": answer.unusable,
        }
    }


def _read(charger_id: str, reply: Message) -> Answer:
    """Read what came of a call. Raises `ChargerOffline` or `ChargerBusy` as the holder did."""
    answer = reply.get("answer")
    if answer is not None:
        return Answer(**answer)
    refusal = ChargerBusy if reply["error"] == "busy" else ChargerOffline
    raise refusal(reply["message"], detail=reply["detail"])


def _cannot_ask(charger_id: str) -> ChargerUnreachable:
    return ChargerUnreachable(
        f"Charger {charger_id} is not connected to this server process, and the others cannot be asked:"
        " Redis is away.",
        detail="It did not get the command. Try again when /health/ready says that Redis answers.",
    )


def _unreachable(charger_id: str) -> ChargerUnreachable:
    return ChargerUnreachable(
        f"The server process that holds charger {charger_id} does not answer.",
        detail="The charger did not get the command. It connects again if that process has ended: try again"
        " when it is online.",
    )


def _unknown(charger_id: str) -> ChargerOffline:
    return ChargerOffline(
        f"The server process that holds charger {charger_id} was lost before the charger answered.",
        detail="Whether it took the command is not known. Look at its status when it is back.",
    )
