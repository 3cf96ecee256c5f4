"""The world of the demo: two businesses, four stations in real places, twelve chargers, and who signs in.

Made once; a second start finds it and changes nothing. The passwords are known to all, so this is
never made in production.
"""

from dataclasses import dataclass
from uuid import UUID, uuid5

from sqlalchemy import select

from ohmstead.accounts.models import Backoffice, Role, Token, User
from ohmstead.accounts.passwords import secret_hash
from ohmstead.accounts.service import create_user
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.stations.models import Charger, Connector, Station

NAMESPACE = UUID("6f0f7a52-3a3c-4b8e-9a55-0d5c1a9b7e10")
PASSWORD = "ohmstead-demo"  # noqa: S105 # the demo's logins are printed on the screen
CHARGER_PASSWORD = "ohmstead-demo-charger"  # noqa: S105 # as above; nothing real is behind it

DemoCharger = tuple[str, int, float, str, str | None]
"""Id, connectors, kW of each, AC or DC, password: what the simulator is told."""


@dataclass(frozen=True, slots=True)
class Place:
    """A station of the demo and its chargers."""

    business: str
    name: str
    address: str
    city: str
    country: str
    latitude: float
    longitude: float
    time_zone: str
    phone: str
    amenities: tuple[str, ...]
    chargers: tuple[DemoCharger, ...]


PLACES = (
    Place(
        "VoltCo Lanka",
        "Galle Face Green",
        "Galle Face Centre Road",
        "Colombo",
        "LK",
        6.92460,
        79.84340,
        "Asia/Colombo",
        "+94 11 200 0001",
        ("WiFi", "Coffee Shop", "Restroom"),
        (
            ("CMB-GALLE-01", 2, 22.0, "AC", None),
            ("CMB-GALLE-02", 2, 22.0, "AC", None),
            ("CMB-GALLE-03", 1, 60.0, "DC", CHARGER_PASSWORD),
        ),
    ),
    Place(
        "VoltCo Lanka",
        "Kandy Lake Round",
        "Sangaraja Mawatha",
        "Kandy",
        "LK",
        7.29150,
        80.64280,
        "Asia/Colombo",
        "+94 11 200 0001",
        ("Restroom",),
        (("KDY-LAKE-01", 2, 11.0, "AC", None), ("KDY-LAKE-02", 1, 50.0, "DC", None)),
    ),
    Place(
        "Nordlicht Laden",
        "HafenCity Überseequartier",
        "Überseeallee 1",
        "Hamburg",
        "DE",
        53.54040,
        10.00160,
        "Europe/Berlin",
        "+49 40 5550 101",
        ("WiFi", "Restaurant", "Shopping", "Restroom"),
        (
            ("HH-HAFEN-01", 2, 150.0, "DC", CHARGER_PASSWORD),
            ("HH-HAFEN-02", 2, 150.0, "DC", CHARGER_PASSWORD),
            ("HH-HAFEN-03", 2, 22.0, "AC", None),
            ("HH-HAFEN-04", 2, 22.0, "AC", None),
        ),
    ),
    Place(
        "Nordlicht Laden",
        "Tromsø Prostneset",
        "Samuel Arnesens gate 5",
        "Tromsø",
        "NO",
        69.64820,
        18.96060,
        "Europe/Oslo",
        "+47 77 55 50 10",
        ("WiFi", "Waiting Room"),
        (
            ("TOS-PROST-01", 1, 60.0, "DC", None),
            ("TOS-PROST-02", 2, 22.0, "AC", None),
            ("TOS-PROST-03", 2, 22.0, "AC", None),
        ),
    ),
)

HOURS = {
    day: [{"start": "06:00", "end": "23:00"}] for day in ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
}
TAGS = tuple(f"DEMO{number:04d}" for number in range(1, 25))
BLOCKED_TAG = "DEMOBLOCKED"


@dataclass(frozen=True, slots=True)
class DemoWorld:
    """What the demo prints, and what its simulator is told."""

    logins: list[tuple[str, str, str]]
    chargers: list[DemoCharger]
    id_tags: list[str]


async def seed(settings: Settings) -> DemoWorld:
    """Make the demo's world where it is missing, and return it. Blocks nothing, changes nothing twice."""
    database = Database(settings.postgres_url, pool_size=2)
    try:
        async with database.session() as session:
            made = await session.scalar(select(Backoffice.id).where(Backoffice.id == _id("VoltCo Lanka")))
            for name, zone in (("VoltCo Lanka", "Asia/Colombo"), ("Nordlicht Laden", "Europe/Berlin")):
                if made is None:
                    session.add(Backoffice(id=_id(name), name=name, time_zone=zone))
            await session.flush()
            if made is None:
                for place in PLACES:
                    session.add(_station(place))
                await session.flush()
                for place in PLACES:
                    session.add_all(
                        _charger(place, charger, settings.signing_key) for charger in place.chargers
                    )
                await session.flush()
                for place in PLACES:
                    session.add_all(one for charger in place.chargers for one in _connectors(charger))
                session.add_all(Token(id_tag=tag, owner="Demo driver") for tag in TAGS)
                session.add(Token(id_tag=BLOCKED_TAG, owner="Lost card", status="Blocked"))
        logins = []
        for role, email, business, stations in _logins():
            async with database.session() as session:
                if await session.scalar(select(User.id).where(User.email == email)) is None:
                    await create_user(
                        session,
                        email=email,
                        password=PASSWORD,
                        role=role,
                        backoffice_id=_id(business) if business else None,
                        station_ids=[_id(name) for name in stations],
                    )
            logins.append((str(role), email, PASSWORD))
    finally:
        await database.close()
    return DemoWorld(
        logins=logins,
        chargers=[charger for place in PLACES for charger in place.chargers],
        id_tags=[*TAGS, BLOCKED_TAG],
    )


def _logins() -> list[tuple[Role, str, str | None, tuple[str, ...]]]:
    return [
        (Role.SYSTEM_ADMIN, "admin@ohmstead.example", None, ()),
        (Role.BACKOFFICE, "office@voltco.example", "VoltCo Lanka", ()),
        (Role.BACKOFFICE, "office@nordlicht.example", "Nordlicht Laden", ()),
        (Role.OPERATOR, "maya@voltco.example", "VoltCo Lanka", ("Galle Face Green",)),
    ]


def _id(name: str) -> UUID:
    return uuid5(NAMESPACE, name)


def _station(place: Place) -> Station:
    return Station(
        id=_id(place.name),
        backoffice_id=_id(place.business),
        name=place.name,
        address=place.address,
        city=place.city,
        country=place.country,
        latitude=place.latitude,
        longitude=place.longitude,
        time_zone=place.time_zone,
        support_phone=place.phone,
        amenities=list(place.amenities),
        opening_hours=HOURS,
    )


def _charger(place: Place, charger: DemoCharger, key: str) -> Charger:
    charger_id, _, _, _, password = charger
    return Charger(
        id=charger_id,
        name=f"{place.name} {charger_id.rsplit('-', 1)[1]}",
        backoffice_id=_id(place.business),
        station_id=_id(place.name),
        simulated=True,
        security_profile=0 if password is None else 1,
        password_hash=None if password is None else secret_hash(password, key),
    )


def _connectors(charger: DemoCharger) -> list[Connector]:
    charger_id, count, kw, current, _ = charger
    fast = current == "DC"
    return [
        Connector(
            charger_id=charger_id,
            connector_id=number,
            type="CCS" if fast else "Type 2",
            current=current,
            phases=None if fast else 3,
            max_power_kw=kw,
        )
        for number in range(1, count + 1)
    ]
