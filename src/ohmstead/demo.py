"""The world of the demo: two businesses, four stations in real places, twelve chargers, and who signs in.

A second start finds it, changes nothing of it, and makes again what was deleted. The passwords are known
to all, so this is never made in production.
"""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID, uuid5

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.businesses import find_business
from ohmstead.accounts.models import Backoffice, Role, Token, TokenStatus, User
from ohmstead.accounts.passwords import secret_hash, secret_matches
from ohmstead.accounts.service import create_user
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.core.errors import StartupError
from ohmstead.fleet.configuration.models import ConfigurationTemplate
from ohmstead.stations.models import Charger, Connector, Registration, Station

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
BUSINESSES = (("VoltCo Lanka", "Asia/Colombo"), ("Nordlicht Laden", "Europe/Berlin"))
LOGINS: tuple[tuple[Role, str, str | None, tuple[str, ...]], ...] = (
    (Role.SYSTEM_ADMIN, "admin@ohmstead.example", None, ()),
    (Role.BACKOFFICE, "office@voltco.example", "VoltCo Lanka", ()),
    (Role.BACKOFFICE, "office@nordlicht.example", "Nordlicht Laden", ()),
    (Role.OPERATOR, "maya@voltco.example", "VoltCo Lanka", ("Galle Face Green",)),
)
TEMPLATE = {
    "HeartbeatInterval": "120",
    "MeterValueSampleInterval": "5",
    "MeterValuesSampledData": "Energy.Active.Import.Register,Power.Active.Import,Current.Import,Voltage,SoC",
    "ConnectionTimeOut": "90",
}
TAGS = tuple(f"DEMO{number:04d}" for number in range(1, 25))
BLOCKED_TAG = "DEMOBLOCKED"
STEPS = len(PLACES) + sum(len(place.chargers) for place in PLACES) + len(LOGINS)
"""How often `seed` calls `on_step`."""


@dataclass(frozen=True, slots=True)
class DemoWorld:
    """What the demo prints, and what its simulator is told.

    `changed` are chargers of the demo that somebody took for something else: they are left alone.
    """

    logins: list[tuple[str, str, str]]
    chargers: list[DemoCharger]
    id_tags: list[str]
    changed: list[str]


async def seed(settings: Settings, on_step: Callable[[], None] = lambda: None) -> DemoWorld:
    """Make of the demo's world what is missing, and return it.

    What is there stays as it is, whoever changed it; what was deleted comes back. `on_step` is called
    `STEPS` times. Raises `StartupError` in a database where others took the names of the demo.
    """
    database = Database(settings.postgres_url, pool_size=2)
    try:
        async with database.session() as session:
            await _make_places(session, on_step)
            chargers, changed = await _make_chargers(session, settings.signing_key, on_step)
            await _make_template(session)
            known = set(await session.scalars(select(Token.id_tag).where(Token.backoffice_id.is_(None))))
            session.add_all(Token(id_tag=tag, owner="Demo driver") for tag in TAGS if tag not in known)
            if BLOCKED_TAG not in known:
                session.add(Token(id_tag=BLOCKED_TAG, owner="Lost card", status=TokenStatus.BLOCKED))
        logins = []
        for role, email, business, stations in LOGINS:
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
            on_step()
    finally:
        await database.close()
    return DemoWorld(logins, chargers, [*TAGS, BLOCKED_TAG], changed)


async def _make_places(session: AsyncSession, on_step: Callable[[], None]) -> None:
    for name, zone in BUSINESSES:
        if await session.get(Backoffice, _id(name)) is None:
            if await find_business(session, name) is not None:
                raise StartupError(
                    f"There is a business called {name} that is not the demo's.",
                    "Give the demo a database of its own: another OHMSTEAD_DATA_DIR or DATABASE_URL.",
                )
            session.add(Backoffice(id=_id(name), name=name, time_zone=zone))
    await session.flush()
    for place in PLACES:
        if await session.get(Station, _id(place.name)) is None:
            session.add(_station(place))
        on_step()
    await session.flush()


async def _make_template(session: AsyncSession) -> None:
    """The configuration template of the first business, unless it has one."""
    business_id = _id(BUSINESSES[0][0])
    of_business = ConfigurationTemplate.backoffice_id == business_id
    if await session.scalar(select(ConfigurationTemplate.id).where(of_business).limit(1)) is None:
        keys = [list(pair) for pair in TEMPLATE.items()]
        session.add(
            ConfigurationTemplate(backoffice_id=business_id, name="Demo chargers", keys=keys, everywhere=True)
        )


async def _make_chargers(
    session: AsyncSession, key: str, on_step: Callable[[], None]
) -> tuple[list[DemoCharger], list[str]]:
    """The chargers that the simulator plays, and the ids of those that somebody made into something else."""
    played, changed = [], []
    for place in PLACES:
        for charger in place.chargers:
            charger_id, _, _, _, password = charger
            known = await session.get(Charger, charger_id)
            # One that was deleted while it was connected has come back by itself, as nobody's.
            missing = known is None or known.unregistered_since is not None
            if missing:
                await session.merge(_charger(place, charger, key))
                await session.flush()
                for connector in _connectors(charger):
                    await session.merge(connector)
            own = (
                known is None
                or missing
                or (
                    known.simulated
                    and known.retired_at is None
                    and (known.password_hash is None) == (password is None)
                    and (password is None or secret_matches(password, known.password_hash, key))
                )
            )
            if own:
                played.append(charger)
            else:
                changed.append(charger_id)
            on_step()
    return played, changed


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
        registration=Registration.ACCEPTED,
        unregistered_since=None,
        unregistered_from=None,
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
