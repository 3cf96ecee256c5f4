"""The handshake of a charger: who it says it is, whether that is true, which protocol it speaks.

OCPP-J 1.6 chapter 3, security whitepaper profiles 0 to 2 (profile 3 is refused until client
certificates are checked here). A refusal is an HTTP status: 401 for a wrong password, 404 for an
unknown identity, 429 for too many attempts, 503 while the database is away.
"""

import base64
import binascii
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import unquote_to_bytes

from websockets.datastructures import Headers

from ohmstead.accounts.passwords import secret_hash
from ohmstead.core.addresses import forwarded_address, plain_address
from ohmstead.core.config import Network
from ohmstead.gateway.lookup import Known
from ohmstead.gateway.paths import PATH, SUBPROTOCOLS
from ohmstead.ocpp.masking import mask
from ohmstead.stations import credentials

SUBPROTOCOL = "ocpp1.6"
MAX_IDENTITY = 48
ADDRESS_FACTOR = 20


class Refused(Exception):
    """The handshake is refused with this HTTP status; `reason` is a stable name, `detail` for people."""

    def __init__(self, status: int, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.detail = detail


def identity_of(raw_path: str) -> str:
    """Read the identity from the raw path: percent-decoded as UTF-8, one trailing slash taken off.

    Raises `Refused` when there is none, or when it could not be anybody's.
    """
    path = raw_path.partition("?")[0]
    raw = path.removeprefix(PATH).removesuffix("/")
    if not path.startswith(PATH) or not raw:
        shown = mask(None, path[:200].encode("ascii", "replace").decode())
        wrong = f"The path is {shown}: it must be {PATH} and the charger's identity."
        raise Refused(404, "WrongPath", wrong)
    try:
        identity = unquote_to_bytes(raw).decode("utf-8")
    except UnicodeError:
        raise Refused(404, "UnknownCharger", "The identity is not UTF-8.") from None
    if len(identity) > MAX_IDENTITY or not identity.isprintable():
        raise Refused(404, "UnknownCharger", "No charger can have this identity.")
    return identity


def client_address(peer: str | None, headers: Headers, trusted: Iterable[Network]) -> str | None:
    """Return who really connects: behind trusted proxies, the last address that none of them added."""
    networks = tuple(trusted)
    address = None if peer is None else plain_address(peer)
    if address is None or not _within(address, networks):
        return address
    told = [hop for value in headers.get_all("X-Forwarded-For") for hop in value.split(",")]
    hops = [forwarded_address(hop) for hop in told]
    for hop in reversed([hop for hop in hops if hop]):
        address = hop
        if not _within(hop, networks):
            break
    return address[:64]


def is_secure(direct: bool, peer: str | None, headers: Headers, trusted: Iterable[Network]) -> bool:
    """Tell whether the charger's side is TLS: here, or at a proxy that we trust to say so."""
    if direct:
        return True
    if peer is None or not _within(plain_address(peer), tuple(trusted)):
        return False
    return any(value.strip().lower() in {"https", "wss"} for value in headers.get_all("X-Forwarded-Proto"))


def _within(address: str, networks: tuple[Network, ...]) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks)


def check_credentials(known: Known, headers: Headers, *keys: str, secure: bool) -> str | None:
    """Check Basic auth for profiles 1 and 2 (security whitepaper A00.FR.2xx). Raises `Refused`.

    The user name is the identity; an empty one is taken as it (some firmware leaves it out). The
    password is text, or the bytes of a key that was set as hexadecimal digits. Returns the hash that it
    matches: the charger's own, or that of a password which was sent to it; None where none is asked for.
    `keys` are the secret keys of the installation that are live.
    """
    if known.security_profile == 0:
        return None
    if known.security_profile == 3:
        raise Refused(401, "ClientCertificate", "Security profile 3 is not offered by this server yet.")
    if known.security_profile == 2 and not secure:
        raise Refused(401, "TlsRequired", "This charger has security profile 2: connect with wss://.")
    basic = _basic(headers.get("Authorization"))
    if basic is None:
        raise Refused(401, "NoCredentials", "This charger needs Basic auth: its identity and its password.")
    user, password = basic
    if user not in {b"", known.id.encode()}:
        raise Refused(401, "WrongUser", "The user name of Basic auth must be the identity in the path.")
    matched = credentials.matching(password, (known.password_hash, *known.next_passwords), *keys)
    if matched is None:
        raise Refused(401, "WrongPassword", "The password is not this charger's.")
    return matched


def sent_password(headers: Headers, identity: str, key: str) -> str | None:
    """Return the hash of the password that a charger sends though nobody has asked, or None.

    Whoever adopts the charger may keep it: it need not be typed into the charger again.
    """
    basic = _basic(headers.get("Authorization"))
    if basic is None or basic[0] not in {b"", identity.encode()} or not basic[1]:
        return None
    try:
        return secret_hash(basic[1].decode("ascii"), key=key)
    except UnicodeDecodeError:
        return secret_hash(basic[1].hex(), key=key)


def _basic(header: str | None) -> tuple[bytes, bytes] | None:
    if header is None:
        return None
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(value.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    return (user, password) if colon else None


def choose_subprotocol(headers: Headers) -> tuple[str | None, bool]:
    """Choose the protocol: (what to answer, whether it can be served).

    None offered is taken as ocpp1.6 (chargers forget it). Only unknown ones: accepted without one, to
    be closed at once, as OCPP-J 1.6 3.2 asks for.
    """
    names = [one.strip() for value in headers.get_all(SUBPROTOCOLS) for one in value.split(",")]
    names = [one for one in names if one]
    if not names:
        return None, True
    for one in names:
        if one.lower() == SUBPROTOCOL:
            return one, True
    return None, False


def offered(headers: Headers) -> str:
    """Return the protocols that were offered, for people: masked and cut."""
    return mask(None, ", ".join(headers.get_all(SUBPROTOCOLS))[:200])


@dataclass(slots=True)
class RateLimit:
    """Stops who keeps being refused: at most `per_minute` refusals of one identity at one address, and
    `ADDRESS_FACTOR` times as many of one address in all; 0 means no limit.

    Only refusals count. A fleet behind one address may come back in one second, and a charger with a
    wrong password does not lock out its neighbours. Memory is bounded: all is forgotten each minute.
    """

    per_minute: int
    _refused: dict[tuple[str, str], int] = field(default_factory=dict)
    _minute: int = 0

    def allows(self, address: str | None, identity: str) -> bool:
        """Tell whether a knock may be looked at."""
        if self.per_minute == 0 or address is None:
            return True
        minute = int(time.monotonic() // 60)
        if minute != self._minute:
            self._minute = minute
            self._refused.clear()
        return (
            self._refused.get((address, identity), 0) < self.per_minute
            and self._refused.get((address, ""), 0) < self.per_minute * ADDRESS_FACTOR
        )

    def refused(self, address: str | None, identity: str) -> None:
        """Count a refusal."""
        if self.per_minute == 0 or address is None:
            return
        for key in ((address, identity), (address, "")):
            self._refused[key] = self._refused.get(key, 0) + 1
