"""The door: a charger that knocks is looked up, and let in or refused with the reason."""

from datetime import datetime
from typing import TYPE_CHECKING
from uuid import uuid4

from sqlalchemy.exc import DBAPIError
from structlog.contextvars import bind_contextvars
from websockets.http11 import Request

from ohmstead.core import metrics
from ohmstead.core.errors import Unavailable
from ohmstead.fleet.onboarding import unknown
from ohmstead.gateway.connection import ChargerConnection
from ohmstead.gateway.handshake import (
    Refused,
    check_credentials,
    choose_subprotocol,
    client_address,
    identity_of,
    is_secure,
    offered,
    sent_password,
)
from ohmstead.gateway.lookup import Known, look_up
from ohmstead.gateway.paths import guessed_identity
from ohmstead.gateway.protocol import ChargerProtocol
from ohmstead.gateway.refusals import Refusals
from ohmstead.stations import credentials
from ohmstead.stations.observations import WRONG_SUBPROTOCOL
from ohmstead.stations.texts import charger_id_fault

if TYPE_CHECKING:
    from ohmstead.gateway.server import Gateway


class Door:
    """Where chargers come in."""

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway
        self._settings = gateway.settings
        self._refusals = Refusals(
            gateway.settings, gateway.database, gateway.clock, gateway.cold, gateway.spawn
        )

    async def handshake(self, protocol: ChargerProtocol, request: Request) -> None:
        """Let a charger in, or refuse it with a status that says why."""
        gateway = self._gateway
        peer = _peer(protocol)
        address = client_address(peer, request.headers, self._settings.trusted_proxies)
        identity = guessed_identity(request.path)
        try:
            if gateway.draining:
                raise Refused(503, "Stopping", "The server stops.")
            identity = identity_of(request.path)
            bind_contextvars(charger_id=identity)
            if not self._refusals.limit.allows(address, identity):
                raise Refused(
                    429, "TooManyRefusals", "Refused too often: wait a minute, and look at the log."
                )
            if gateway.database_away:
                raise Refused(503, "DatabaseAway", "The database is away.")
            generation = gateway.attendance.waiting.generation(identity)
            known = await self.lookup(identity) or await self._admit(identity, address, request)
            if known is None or known.retired:
                raise Refused(404, "Retired" if known else "UnknownCharger", "No charger has this identity.")
            secure = is_secure(protocol.secure, peer, request.headers, self._settings.trusted_proxies)
            keys = self._settings.signing_keys
            matched = check_credentials(known, request.headers, *keys, secure=secure)
            elsewhere = gateway.neighbours is not None and await gateway.neighbours.hold(known.id)
            if gateway.draining:  # begun meanwhile: nobody would close this socket
                raise Refused(503, "Stopping", "The server stops.")
        except Refused as refusal:
            self._refuse(protocol, refusal, identity, address)
            return
        subprotocol, served = choose_subprotocol(request.headers)
        metrics.HANDSHAKES.labels("101").inc()
        connection = ChargerConnection(
            gateway, protocol, uuid4(), known.ref, tolerant=known.tolerant, now=gateway.clock.now()
        )
        connection.learn(known)
        connection.elsewhere = elsewhere
        if not protocol.accept(connection, subprotocol):
            return
        connection.opened = {
            "id": connection.id_text,
            "charger_id": known.id,
            "opened_at": connection.last_seen,
            "address": address,
            "subprotocol": subprotocol,
            "security_profile": known.security_profile,
            "process_id": gateway.process_id,
        }
        gateway.attendance.arrived(connection)
        if gateway.attendance.waiting.generation(known.id) != generation:
            connection.disconnect("the charger's settings changed")
            return
        if not served:
            gateway.observed.note(
                known.id,
                WRONG_SUBPROTOCOL,
                connection.last_seen,
                connection.id_text,
                offered(request.headers),
            )
            protocol.close(1002, "subprotocol not supported: offer ocpp1.6")
            return
        if matched is not None and known.next_passwords:
            gateway.spawn(self._decide_password(known.id, matched, connection.last_seen))
        protocol.watch(self._settings.ocpp_ping_interval, 2.0 * self._settings.ocpp_heartbeat_interval)
        if gateway.links.get(known.id) is None and not elsewhere:
            gateway.attendance.take_over(connection)
        else:
            gateway.attendance.waiting.add(connection)

    async def _admit(self, identity: str, address: str | None, request: Request) -> Known | None:
        """Keep a charger that nobody registered, where that is wanted, and return it as Pending."""
        if not self._settings.ocpp_accept_unknown:
            return None
        fault = charger_id_fault(identity)
        if fault is not None:  # nobody could ever adopt or delete it
            raise Refused(404, "UnknownCharger", f"No charger can have this identity: it {fault}.")
        try:
            async with self._gateway.cold, self._gateway.database.session() as session:
                await unknown.admit(
                    session,
                    identity,
                    address=address,
                    password_hash=sent_password(request.headers, identity, self._settings.signing_key),
                    now=self._gateway.clock.now(),
                    at_most=self._settings.ocpp_unknown_per_address,
                )
        except unknown.TooManyUnknown as error:
            raise Refused(429, error.code, error.message) from None
        except Unavailable as error:
            self._gateway.report_away()
            raise Refused(503, "DatabaseAway", "The database is away.") from error
        return await self.lookup(identity)

    async def _decide_password(self, charger_id: str, matched: str, at: datetime) -> None:
        """Keep which of its passwords a charger has connected with, after one was sent to it."""
        await self._gateway.publish(lambda session: credentials.used(session, charger_id, matched, at))

    async def lookup(self, identity: str) -> Known | None:
        """Read what is known of a charger. Raises `Refused` while the database is away."""
        try:
            async with self._gateway.cold:
                return await look_up(self._gateway.database.engine, identity)
        except (DBAPIError, TimeoutError, OSError) as error:
            self._gateway.report_away()
            raise Refused(503, "DatabaseAway", "The database is away.") from error

    def _refuse(
        self, protocol: ChargerProtocol, refusal: Refused, identity: str, address: str | None
    ) -> None:
        headers = {}
        if refusal.status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="ohmstead", charset="UTF-8"'
        if refusal.status in {429, 503}:
            headers["Retry-After"] = "60" if refusal.status == 429 else "10"
        protocol.refuse(refusal.status, refusal.detail, headers)
        self._refusals.note(identity, address, refusal.status, refusal.reason, refusal.detail)

    def turned_away(self, protocol: ChargerProtocol, request: Request, status: int, why: str) -> None:
        """Take note of a handshake that is none: RFC 6455 was broken, and it is answered already."""
        identity = guessed_identity(request.path)
        if identity:
            address = client_address(_peer(protocol), request.headers, self._settings.trusted_proxies)
            self._refusals.note(identity, address, status, "BadHandshake", why)

    def not_upgraded(self, identity: str, address: str | None) -> None:
        """Take note of a plain HTTP request to a charger's address: a proxy may have left the upgrade out."""
        identity = identity.removesuffix("/")
        if identity:
            detail = "No WebSocket was asked for: a proxy on the way may leave out the header `Upgrade`."
            self._refusals.note(identity, address, 426, "NoUpgrade", detail)


def _peer(protocol: ChargerProtocol) -> str | None:
    return protocol.client[0] if protocol.client else None
