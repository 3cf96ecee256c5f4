"""Redis, over which the processes of one installation talk to each other; one of these in each process.

Nothing that must last is in Redis: it carries messages, and keys with a time to live. So it may go away at
any moment. Nobody waits for it then: what is sent is dropped, what is asked fails at once with `RedisAway`,
and this comes back by itself and tells who must put things right (`on_back`).

A command goes to Redis once: one whose answer is lost is never sent again. All that is given in the same
moment goes out as one pipeline.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable
from typing import Any

import orjson
import redis.asyncio as client
import structlog
from psycopg.conninfo import conninfo_to_dict
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from ohmstead.core import metrics
from ohmstead.core.config import Settings
from ohmstead.core.errors import StartupError
from ohmstead.core.tasks import end

logger = structlog.stdlib.get_logger(__name__)

Message = dict[str, Any]
"""What processes tell each other; `kind` says what it is."""

PIPELINE = 500
QUEUE_LIMIT = 20_000
ANSWER_SECONDS = 2.0
"""A Redis that does not answer for so long is away."""
RETRY_SECONDS = 0.5
ECHO_SECONDS = 1.0
DEAF_SECONDS = 4.0
"""Who does not even hear itself for so long has lost its subscription."""
AWAY = (RedisError, OSError, EOFError, TimeoutError)


class RedisAway(Exception):
    """Redis cannot be reached, or has not answered: whether it took the command is not known."""


class Redis:
    """The way to the other processes. `process_id` is this one's own address."""

    def __init__(self, settings: Settings, process_id: str) -> None:
        if settings.redis_url is None:
            raise ValueError("REDIS_URL is not set")
        self.process_id = process_id
        self._url = settings.redis_url
        try:
            # Reads every parameter, and connects nowhere.
            self._client().connection_pool.make_connection()  # type: ignore[no-untyped-call] # of the library
        except (ValueError, TypeError) as error:
            raise StartupError(
                f"REDIS_URL cannot be used: {error}.", "Give an address such as redis://localhost:6379/0."
            ) from error
        self._prefix = _prefix(settings)
        self._handlers: dict[str, Callable[[Message], None]] = {"echo": lambda _: None}
        self._queue: list[tuple[tuple[Any, ...], asyncio.Future[Any] | None]] = []
        self._wake = asyncio.Event()
        self._heard = 0.0
        self._connected = False
        self._task: asyncio.Task[None] | None = None
        self._working: list[asyncio.Task[None]] = []
        self._connections: tuple[Any, ...] = ()
        self.away_since: float | None = time.monotonic()
        self.why = "not connected yet"
        self.on_back: list[Callable[[], None]] = []

    @property
    def connected(self) -> bool:
        """Whether Redis answers, as far as is known."""
        return self._connected

    def start(self) -> None:
        """Begin to connect."""
        self._task = asyncio.create_task(self._run(), name="redis")

    async def stop(self) -> None:
        """Send what waits, as far as Redis takes it, and leave."""
        if self._task is None:
            return
        if self._connected:
            try:
                await self.ask("PING")
            except RedisAway:
                logger.debug("redis.gone_before_the_end")
        await end(self._task)
        self._task = None
        # It may have been ended in the midst of doing this itself.
        await end(*self._working)
        self._fail_all()
        await _close(*self._connections)

    async def ready(self, seconds: float) -> bool:
        """Wait until it is connected, at most so long; tells whether it is."""
        deadline = time.monotonic() + seconds
        while not self._connected and time.monotonic() < deadline:  # noqa: ASYNC110 # asked once, at the start
            await asyncio.sleep(0.02)
        return self._connected

    def key(self, *parts: str) -> str:
        """Return the name of a key of this installation."""
        return ":".join((self._prefix, *parts))

    def on(self, kind: str, handler: Callable[[Message], None]) -> None:
        """Say who takes the messages of a kind. It must not block; each is called in the order of arrival."""
        self._handlers[kind] = handler

    # --- saying

    def send(self, *command: Any) -> None:
        """Send a command whose answer nobody needs. While Redis is away it is dropped."""
        if self._connected and len(self._queue) < QUEUE_LIMIT:
            self._queue.append((command, None))
            self._wake.set()

    def submit(self, *command: Any) -> "asyncio.Future[Any]":
        """Send a command and return what will be its answer; it fails with `RedisAway`."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        # Who gave up waiting does not ask how it went.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        if not self._connected or len(self._queue) >= QUEUE_LIMIT:
            future.set_exception(RedisAway(self.why))
        else:
            self._queue.append((command, future))
            self._wake.set()
        return future

    async def ask(self, *command: Any) -> Any:
        """Send a command and wait for its answer. Raises `RedisAway`."""
        return await self.submit(*command)

    def tell_all(self, message: Message | bytes) -> None:
        """Tell every process, this one included; `message` may be JSON already."""
        written = message if isinstance(message, bytes) else orjson.dumps(message)
        self.send("PUBLISH", self.key("all"), written)

    def tell_all_surely(self, message: Message) -> "asyncio.Future[Any]":
        """Tell every process, and return what fails with `RedisAway` when it may not have gone out."""
        return self.submit("PUBLISH", self.key("all"), orjson.dumps(message))

    def tell(self, process_id: str, message: Message) -> None:
        """Tell one process, if it is there."""
        self.send("PUBLISH", self.key("process", process_id), orjson.dumps(message))

    async def reach(self, process_id: str, message: Message) -> bool:
        """Tell one process; False when it does not listen, and so did not get it. Raises `RedisAway`."""
        return bool(await self.ask("PUBLISH", self.key("process", process_id), orjson.dumps(message)))

    async def listens(self, process_id: str) -> bool:
        """Whether a process hears what it is told. Raises `RedisAway`."""
        return bool((await self.ask("PUBSUB", "NUMSUB", self.key("process", process_id)))[1])

    # --- the connections

    def _client(self) -> "client.Redis":
        """Return a client with one connection for commands and one that listens; it connects when used."""
        options: dict[str, Any] = {
            "retry": Retry(NoBackoff(), 0),
            "socket_timeout": ANSWER_SECONDS,
            "socket_connect_timeout": ANSWER_SECONDS,
            "max_connections": 2,
        }
        return client.Redis.from_url(self._url, **options)

    async def _run(self) -> None:
        while True:
            redis = self._client()  # a new one each time: whatever was wrong with the old one is gone
            pubsub = redis.pubsub()
            self._connections = (pubsub, redis)
            try:
                await self._subscribe(redis, pubsub)
                self._back()
                # No TaskGroup: one hides that this is cancelled when a connection fails at that moment.
                self._working = [
                    asyncio.create_task(work)
                    for work in (self._listen(pubsub), self._flush(redis), self._echo())
                ]
                for task in (await asyncio.wait(self._working, return_when=asyncio.FIRST_COMPLETED))[0]:
                    task.result()
            except Exception as error:  # noqa: BLE001
                # Whatever it was, a fault of ours or of the network: this must come back.
                self._lost(error)
            finally:
                await end(*self._working)
                self._fail_all()
                await _close(pubsub, redis)
            await asyncio.sleep(RETRY_SECONDS)

    async def _subscribe(self, redis: "client.Redis", pubsub: Any) -> None:
        channels = [self.key("all"), self.key("process", self.process_id)]
        async with asyncio.timeout(2 * ANSWER_SECONDS):
            await redis.ping()
            await pubsub.subscribe(*channels)
            confirmed = 0
            while confirmed < len(channels):
                message = await pubsub.get_message(timeout=ANSWER_SECONDS)
                confirmed += message is not None and message["type"] == "subscribe"

    def _back(self) -> None:
        if self.away_since is not None:
            logger.info("redis.connected", after=round(time.monotonic() - self.away_since, 1))
        self._connected, self.away_since, self.why = True, None, ""
        self._heard = time.monotonic()
        metrics.REDIS_UP.set(1)
        for put_right in self.on_back:
            put_right()

    def _lost(self, error: BaseException) -> None:
        why = _reason(error)
        if self.away_since is None or not isinstance(error, AWAY):
            logger.error("redis.away", why=why, exc_info=None if isinstance(error, AWAY) else error)
            self.away_since = self.away_since or time.monotonic()
        elif why != self.why:
            logger.warning("redis.still_away", why=why)
        self.why = why
        self._connected = False
        metrics.REDIS_UP.set(0)

    def _fail_all(self) -> None:
        self._connected = False
        queue, self._queue = self._queue, []
        for _, future in queue:
            if future is not None and not future.done():
                future.set_exception(RedisAway(self.why))

    async def _flush(self, redis: "client.Redis") -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                batch, self._queue = self._queue[:PIPELINE], self._queue[PIPELINE:]
                pipeline = redis.pipeline(transaction=False)
                for command, _ in batch:
                    pipeline.execute_command(*command)
                try:
                    answers = await pipeline.execute(raise_on_error=False)
                except BaseException:
                    self._queue = batch + self._queue  # not to be sent again: `_fail_all` tells who waits
                    self._connected = False
                    raise
                for (command, future), answer in zip(batch, answers, strict=True):
                    refused = isinstance(answer, Exception)
                    if refused:
                        logger.error("redis.refused", command=str(command[0]), why=_reason(answer))
                    if future is None or future.done():
                        continue
                    if refused:
                        future.set_exception(RedisAway(_reason(answer)))
                    else:
                        future.set_result(answer)

    async def _listen(self, pubsub: Any) -> None:
        while True:
            message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=ECHO_SECONDS)
            now = time.monotonic()
            if message is not None:
                self._heard = now
                self._handle(message["data"])
            elif now - self._heard > DEAF_SECONDS:
                raise TimeoutError("its messages do not arrive")

    def _handle(self, data: bytes) -> None:
        try:
            message = orjson.loads(data)
            self._handlers[message["kind"]](message)
        except Exception:
            # One message that cannot be taken (another version's, or a fault of ours) must not end the rest.
            logger.exception("redis.message_failed")

    async def _echo(self) -> None:
        while True:
            self.tell(self.process_id, {"kind": "echo"})
            await asyncio.sleep(ECHO_SECONDS)


def _prefix(settings: Settings) -> str:
    """Return what the keys and channels of an installation begin with; another one may share the Redis."""
    database = conninfo_to_dict(settings.postgres_url).get("dbname", "")
    told = f"redis\0{settings.signing_key}\0{database}"
    return "ohmstead:" + hashlib.sha256(told.encode()).hexdigest()[:16]


async def _close(*connections: Any) -> None:
    for connection in connections:
        try:
            await connection.aclose()
        except Exception as error:  # noqa: BLE001
            # Event loops and drivers have more ways to fail at a connection that is broken: it is gone.
            logger.debug("redis.close_failed", why=_reason(error))


def _reason(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
