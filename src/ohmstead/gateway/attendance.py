"""Who is connected to this process: which socket serves a charger, and what is written and told of it."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.core import metrics
from ohmstead.core.facts import Row
from ohmstead.fleet.arrivals import connected
from ohmstead.gateway import presence
from ohmstead.gateway.connection import ChargerConnection
from ohmstead.gateway.handshake import Refused
from ohmstead.gateway.lookup import let_in_by
from ohmstead.gateway.waiting import Waiting
from ohmstead.gateway.writer import DatabaseAway, Entry, Fact

if TYPE_CHECKING:
    from ohmstead.gateway.server import Gateway

MICROSECOND = timedelta(microseconds=1)


class Attendance:
    """The sockets of this process. Of several of one charger one serves it, the others wait."""

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway
        self._links = gateway.links
        self._writer = gateway.writer
        self._live = gateway.live
        self._clock = gateway.clock
        self._sockets: set[ChargerConnection] = set()
        self._owed: list[tuple[list[Fact], Callable[[Exception | None], None]]] = []
        # What could not be written; at most some rows for each socket that was open then.
        self.waiting = Waiting()
        self._news = presence.News()
        self._publishing = False
        self._doubted: set[str] = set()
        gateway.links.on_disconnect(self.waiting.close)
        gateway.links.on_end(self.served)

    def __len__(self) -> int:
        return len(self._sockets)

    def __iter__(self) -> Iterator[ChargerConnection]:
        """Iterate over the sockets as they are now, whatever comes and goes meanwhile."""
        return iter(list(self._sockets))

    def served(self, charger_ids: Collection[str]) -> Callable[[], bool]:
        """Return what tells whether all is served that the chargers have sent over the sockets of now."""
        going = [one for one in self._sockets if one.charger.id in set(charger_ids)]
        return lambda: all(one.idle for one in going)

    # --- coming and going

    def arrived(self, connection: ChargerConnection) -> None:
        """Write that a socket has been opened."""
        self._sockets.add(connection)
        metrics.CONNECTIONS.set(len(self._sockets))
        self._writer.submit(Entry([(presence.CONNECTION, connection.opened)], nothing))

    def take_over(self, connection: ChargerConnection, *, ended: bool = False) -> None:
        """Make this socket the charger's own, in place of an older one that is still open.

        `ended` says that the older one, at another process, is open no more: that was told to who watches.
        """
        charger = connection.charger
        self.waiting.remove(connection)
        before = self._links.attach(charger.id, connection)
        connection.attached = True
        connection.since = max(self._clock.now(), connection.since + MICROSECOND)
        news = before is None and (ended or not connection.elsewhere or not connection.seen_online)
        unread = before is None and connection.elsewhere
        if isinstance(before, ChargerConnection):
            # What the old socket knows is newer than what was read when this one was opened.
            connection.sessions, connection.told = before.sessions, before.told
            connection.since = max(connection.since, before.since + MICROSECOND)
            unread = before.unread
            before.replaced()
        if unread:
            # What another process wrote since then is newer as well: it is read before the first message.
            connection.unread = True
            connection.hold()
            self._gateway.spawn(self._read_again(connection))
        if self._gateway.neighbours is not None:
            self._gateway.neighbours.attached(connection)

        def written(error: Exception | None) -> None:
            if error is None and news and connection.attached:
                self._tell(connection, online=True)
            if connection.alerted:
                self._news.back.append(charger.id)
                self._publish_soon()
            if connection.awaited:
                self._gateway.spawn(
                    self._gateway.publish(lambda session: connected(session, charger.id, self._clock.now()))
                )

        # Both at once: nobody may find a charger online that has no connection.
        self._write(
            [
                (presence.CONNECTION, connection.opened),
                (presence.CHARGER_SEEN, _seen(connection, self._clock.now(), online=True)),
            ],
            written,
        )

    def connection_closed(self, connection: ChargerConnection, code: int, reason: str) -> None:
        """Write how a connection ended; the charger is offline unless another socket has taken over.

        One that is open and has been silent so far takes over now.
        """
        self._sockets.discard(connection)
        self._gateway.figures.flush()
        self.waiting.remove(connection)
        if connection.attached and not self._gateway.draining:
            second = self.waiting.newest(connection.charger.id)
            if second is not None:
                self.take_over(second)
        metrics.CONNECTIONS.set(len(self._sockets))
        was_attached = connection.attached
        connection.attached = False
        now = self._clock.now()
        closed = {
            **connection.opened,
            "closed_at": now,
            "close_code": code,
            "close_reason": reason.replace("\0", "")[:200],
        }
        facts: list[Fact] = [(presence.CONNECTION, closed)]
        gone = was_attached and self._links.detach(connection.charger.id, connection)
        if gone and self._gateway.neighbours is not None:
            self._gateway.neighbours.detached(connection)
        if gone and not self._gateway.draining:
            # A charger that a stop sends away stays online in the database: if it does not come back to
            # the next server, that one finds it (`forget_the_dead`), and the alert follows.
            facts.append((presence.CHARGER_SEEN, _seen(connection, now, online=False)))

        def written(error: Exception | None) -> None:
            if gone and error is None and self._links.get(connection.charger.id) is None:
                self._tell(connection, online=False)
            if gone and not self._gateway.draining:
                self._news.gone.append((connection.charger.id, connection.id_text, now))
                self._publish_soon()

        self._write(facts, written)

    # --- the other processes

    def give_up(self, connection: ChargerConnection) -> None:
        """End a socket whose charger has come back at another process; those that wait here wait for that."""
        self._links.detach(connection.charger.id, connection)
        self.waiting.now_elsewhere(connection.charger.id)
        connection.replaced()

    def dated(self, connection: ChargerConnection, since: datetime, *, moved: bool) -> None:
        """Take since when a socket is its charger's own, where other processes had a say in it.

        One of them served it until that moment, if it has `moved`: perhaps after it was read here.
        """
        if moved:
            self.trust_nothing([connection])
        if connection.attached and since > connection.since:
            connection.since = since
            seen = _seen(connection, self._clock.now(), online=True)
            self._write([(presence.CHARGER_SEEN, seen)], nothing)

    def serve_waiting(self, charger_id: str) -> None:
        """Serve a silent socket of a charger whose other socket, at another process, has ended."""
        second = self.waiting.newest(charger_id)
        if second is not None and self._links.get(charger_id) is None and not self._gateway.draining:
            self.take_over(second, ended=True)

    def contradict(self, charger_id: str) -> None:
        """Say that a charger is here, when another process has told that it is gone."""
        connection = self._links.get(charger_id)
        if isinstance(connection, ChargerConnection) and connection.attached:
            self._tell(connection, online=True)

    def serving(self) -> list[str]:
        """Return the chargers that are served here."""
        return [one.charger.id for one in self._sockets if one.attached]

    def say_again(self, offline: Mapping[str, datetime | None]) -> None:
        """Say of those that are connected here, and taken as offline, that they are online.

        Only of those that were so the last time too: what they said may just be on its way. `offline` says
        since when the socket had its charger that said otherwise. Silent ones are served from now on.
        """
        before, self._doubted = self._doubted, set(offline)
        for charger_id, since in offline.items():
            connection = self._links.get(charger_id)
            if charger_id not in before:
                continue
            if not isinstance(connection, ChargerConnection) or not connection.attached:
                self.serve_waiting(charger_id)
                continue
            connection.since = max(connection.since, since or connection.since) + MICROSECOND
            if self._gateway.neighbours is not None:
                self._gateway.neighbours.attached(connection)
            self._say_open(connection)

    async def check_who_was_let_in(self, session: AsyncSession) -> None:
        """Close the sockets of chargers that would be let in otherwise now, or not at all."""
        sockets = list(self._sockets)
        known = await let_in_by(session, {one.charger.id for one in sockets})
        for connection in sockets:
            if known.get(connection.charger.id) != (connection.charger, connection.let_in_by):
                connection.disconnect("the charger's settings changed")

    def waiting_for_others(self) -> list[str]:
        """Return the chargers whose sockets here wait for one at another process."""
        return [
            one.charger.id
            for one in self._sockets
            if one.elsewhere and not one.attached and self._links.get(one.charger.id) is None
        ]

    async def _read_again(self, connection: ChargerConnection) -> None:
        """Read what is known of a charger once more, and then serve what it says."""
        try:
            known = await self._gateway.door.lookup(connection.charger.id)
            if known is not None:
                connection.told, connection.sessions = known.told(), known.open_sessions()
        except Refused:  # the database is away, so nothing else is served either
            self.trust_nothing([connection])
        finally:
            connection.unread = False
            connection.protocol.resume(connection.release())

    def trust_nothing(self, connections: Iterable[ChargerConnection] | None = None) -> None:
        """Work sessions out from what is stored: what other processes did to them was not heard here."""
        for connection in self._sockets if connections is None else connections:
            for session in connection.sessions.values():
                session.trusted = False

    def come_back(self) -> None:
        """Say that the sockets of this process are open: the others took it for dead, and said otherwise."""
        for connection in self._sockets:
            # Later than what they wrote, whatever their clocks say; a socket that came since is later still.
            connection.since += MICROSECOND
            self._say_open(connection)

    def _say_open(self, connection: ChargerConnection) -> None:
        facts: list[Fact] = [(presence.CONNECTION, connection.opened)]
        if connection.attached:
            facts.append((presence.CHARGER_SEEN, _seen(connection, self._clock.now(), online=True)))
            self._tell(connection, online=True)
        self._write(facts, nothing)

    def _publish_soon(self) -> None:
        if not self._publishing:
            self._publishing = True
            self._gateway.spawn(self._publish())

    async def _publish(self) -> None:
        """Publish who has come and gone, all of one moment in one unit of work, while there is any."""
        try:
            while self._news:
                news, self._news = self._news, presence.News()
                await self._gateway.publish(news.publish)
        finally:
            self._publishing = False

    def _tell(self, connection: ChargerConnection, *, online: bool) -> None:
        charger = connection.charger
        shown = presence.Shown(charger.id, charger.backoffice_id, charger.station_id, connection.last_seen)
        self._live.publish(presence.presence_event(shown, online=online))

    # --- what is written

    def write_seen(self) -> None:
        """Write when the chargers were heard last."""
        facts: list[Fact] = []
        for connection in self._sockets:
            if connection.attached and connection.last_seen != connection.last_seen_written:
                connection.last_seen_written = connection.last_seen
                facts.append((presence.CHARGER_SEEN, _seen(connection, self._clock.now(), online=True)))
        if facts:
            self._writer.submit(Entry(facts, nothing))

    def _write(self, facts: list[Fact], written: Callable[[Exception | None], None]) -> None:
        """Write who is connected; when the database is away, later: no charger sends it again."""

        def done(error: Exception | None) -> None:
            if isinstance(error, DatabaseAway):
                self._owed.append((facts, written))
            else:
                written(error)

        self._writer.submit(Entry(facts, done))

    def write_owed(self) -> None:
        """Write presence that is late. Who has come or gone meanwhile is told as it is now."""
        owed, self._owed = self._owed, []
        for facts, written in owed:
            for kind, row in facts:
                if kind is presence.CHARGER_SEEN:
                    row["online"] = self._links.get(row["charger_id"]) is not None
            self._write(facts, written)


def _seen(connection: ChargerConnection, at: datetime, *, online: bool) -> Row:
    # What is said later holds, even if the clock was set back meanwhile.
    connection.said_at = at = max(at, connection.said_at + MICROSECOND)
    return {
        "charger_id": connection.charger.id,
        "online": online,
        "last_seen": connection.last_seen,
        "since": connection.since,
        "at": at,
    }


def nobody(now: datetime) -> Row:
    """Return a row that changes nothing, to see whether rows can be written."""
    return {"charger_id": "", "online": False, "last_seen": now, "since": now, "at": now}


def nothing(error: Exception | None) -> None:
    """Nobody waits for this entry; the writer has logged what went wrong."""
