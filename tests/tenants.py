"""Whole tenants: a row of every table there is, each of its texts with a marker.

New tables are in it by themselves. Where a value cannot be guessed (a state, a kind) it is named in `VALUES`.
"""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from ohmstead.accounts.access_tokens import issue
from ohmstead.accounts.api_keys_secrets import new_key
from ohmstead.accounts.models import Role, User
from ohmstead.accounts.passwords import derive_key, secret_hash
from ohmstead.accounts.permissions import FOR_MACHINES
from ohmstead.accounts.person_keys import seal
from ohmstead.core.config import Settings
from ohmstead.core.db import Base
from tests.world import SignedIn

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)

OF_NOBODY = frozenset(
    {"accounts_audit_seal", "accounts_person_key", "accounts_sign_in_attempts", "core_process"}
)
"""These tables hold nothing of a tenant."""

OF_ALL = frozenset({"accounts_identity_provider"})
"""And these are the installation's: everybody may know of them."""

FIRST = ("accounts_backoffice", "accounts_user", "stations_station", "stations_charger")
"""Other tables refer to these by the names of their columns as well."""

PROFILE = {
    "chargingProfileId": 1,
    "stackLevel": 0,
    "chargingProfilePurpose": "TxDefaultProfile",
    "chargingProfileKind": "Absolute",
    "chargingSchedule": {
        "chargingRateUnit": "A",
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 16.0}],
    },
}
VALUES: dict[str, Any] = {
    "accounts_api_key.key_hash": lambda tenant: secret_hash(tenant.key, tenant.settings.signing_key),
    "accounts_api_key.permissions": list(FOR_MACHINES),
    "accounts_audit_entry.action": "station.updated",
    "accounts_audit_entry.actor_kind": "user",
    "accounts_audit_entry.actor_role": "Backoffice",
    "accounts_personal_data.kind": "Export",
    "accounts_personal_data.state": "Done",
    "accounts_driver.nic": lambda tenant: f"1990{tenant.number:08d}",
    "accounts_second_factor.secret": lambda tenant: seal(
        derive_key(tenant.settings.signing_key, "second-factor"),
        b"JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP",
        tenant.rows["accounts_user:EvOwner"]["id"].bytes,
    ),
    "accounts_token.id_tag": lambda tenant: f"TAG-{tenant.name}",
    "accounts_user.password_hash": None,
    "bookings_reservation.expires_at": NOW + timedelta(hours=1),
    "bookings_reservation.status": "Accepted",
    "charging_meter_value.transaction_id": lambda tenant: tenant.number,
    "charging_session.closed_by": None,
    "charging_session.id_tag_status": "Accepted",
    "charging_session.meter_start": 0,
    "charging_session.ocpp_transaction_id": lambda tenant: tenant.number,
    "charging_session.started_at": NOW,
    "charging_session.stop_reason": None,
    "charging_session.fingerprint": None,
    "core_file.kept_at": NOW,
    "core_file.sha256": "ab" * 32,
    "core_file_link.until": NOW + timedelta(hours=1),
    "accounts_mailed_token.purpose": "invite",
    "energy_installed_profile.purpose": "TxDefaultProfile",
    "energy_installed_profile.profile": PROFILE,
    "energy_profile.profile": PROFILE,
    "fleet_campaign.kind": "Configuration",
    "fleet_campaign.parameters": {"keys": {"HeartbeatInterval": "300"}},
    "fleet_campaign_item.kind": "Configuration",
    "fleet_configuration_change.command": "GetConfiguration",
    "fleet_configuration_change.status": None,
    "fleet_configuration_key.asked_status": None,
    "fleet_configuration_key.asked_value": None,
    "fleet_configuration_template.keys": [["HeartbeatInterval", "300"]],
    "fleet_configuration_turn.ending": "Away",
    "fleet_diagnostics.kind": "Diagnostics",
    "fleet_diagnostics.status": "Uploading",
    "fleet_diagnostics_event.status": "Uploading",
    "fleet_firmware.sha256": "ab" * 32,
    "fleet_firmware_event.status": "Downloading",
    "fleet_firmware_update.status": "Downloading",
    "fleet_local_list.ending": "Accepted",
    "fleet_local_list_rule.station_id": None,
    "fleet_local_list_rule.tags": {"all": True},
    "gateway_message.direction": "in",
    "gateway_refusal.reason": "wrong password",
    "gateway_refusal.status": 401,
    "notifications_alert.kind": "ChargerOffline",
    "notifications_alert.severity": "WARN",
    "stations_connector.current": "AC",
    "stations_connector.status": "Available",
    "stations_connector.type": "Type2",
    "stations_next_password.state": "Sent",
    "stations_charger.id": lambda tenant: f"CP-{tenant.name}",
    "stations_charger.firmware_status": None,
    "stations_charger.diagnostics_status": None,
    "stations_observation.examples": [],
    "stations_observation.kind": "Reboot",
    "stations_report.action": "DataTransfer",
    "stations_station.country": "SE",
    "stations_status_event.status": "Available",
    "stations_status_event.error_code": "NoError",
}
"""`table.column` and what stands there (None: nothing), where the marker or another guess would not do.

What a path may name has no marker in it, since an answer may repeat it.
"""

WORDS = re.compile(r"(^|_)(status|state|kind|role|ending|action|reason|purpose)$")
"""A word of a list stands in columns that are called so: they stay empty where they may."""

PERSONS = re.compile(r"(user|driver|owner|person|holder)_id$")
"""Columns of these names, and what refers to `accounts_user`, hold the driver of the tenant."""

STAFF = re.compile(r"(_by|creator_id|approver_id)$")
"""And these hold its Backoffice."""


class Tenant:
    """A business with everything: a row of each table, a user of each role in `people`, an API key in `key`.

    What belongs to its station carries `station_marker` in its texts, everything else `marker`.
    """

    def __init__(self, connection: AsyncConnection, settings: Settings, name: str) -> None:
        self.connection = connection
        self.settings = settings
        self.name = name
        self.key = new_key()
        self.number = sum(name.encode())
        self.marker = f"ZQX{name}B"
        self.station_marker = f"ZQX{name}S"
        self.rows: dict[str, dict[str, Any]] = {}
        self.people: dict[Role, SignedIn] = {}
        self._numbers = count(1)

    async def fill(self) -> "Tenant":
        """Make all rows; each table after those that it refers to."""
        tables = Base.metadata.sorted_tables
        for table in [*(Base.metadata.tables[name] for name in FIRST), *tables]:
            if table.name in self.rows or f"{table.name}:{Role.OPERATOR}" in self.rows:
                continue
            if table.name == "accounts_user":
                for role in (Role.BACKOFFICE, Role.OPERATOR, Role.EV_OWNER):
                    self.rows[f"accounts_user:{role}"] = await self._insert(table, role=role)
            elif table.name not in OF_NOBODY:
                self.rows[table.name] = await self._insert(table)
        operator = self.rows["accounts_user:Operator"]
        users = Base.metadata.tables["accounts_user"]
        at_work = [self.rows["stations_station"]["id"]]
        await self.connection.execute(
            users.update().where(users.c.id == operator["id"]).values(operator_station_ids=at_work)
        )
        operator["operator_station_ids"] = at_work
        for role in (Role.BACKOFFICE, Role.OPERATOR, Role.EV_OWNER):
            self.people[role] = self.signed_in(self.rows[f"accounts_user:{role}"])
        return self

    async def colleague(self) -> SignedIn:
        """An Operator of the same business, at another station of it."""
        tables = Base.metadata.tables
        texts = {one.name: "Another" for one in tables["stations_station"].columns if is_text(one)}
        station = await self._insert(tables["stations_station"], **texts | {"country": "SE"})
        station_ids = [station["id"]]
        row = await self._insert(
            tables["accounts_user"], role=Role.OPERATOR, operator_station_ids=station_ids
        )
        return self.signed_in(row)

    async def admin(self) -> SignedIn:
        """A SystemAdmin, who belongs to no tenant."""
        users = Base.metadata.tables["accounts_user"]
        return self.signed_in(await self._insert(users, role=Role.SYSTEM_ADMIN, backoffice_id=None))

    def signed_in(self, row: dict[str, Any]) -> SignedIn:
        user = User(**{name: row[name] for name in ("id", "email", "role", "backoffice_id")})
        user.operator_station_ids = row["operator_station_ids"]
        return SignedIn(user.id, user.email, None, Role(user.role), issue(self.settings, user, NOW))

    async def _insert(self, table: sa.Table, **given: Any) -> dict[str, Any]:
        values = {}
        for column in table.columns:
            if column.name in given:
                values[column.name] = given[column.name]
                continue
            value = self._value(table, column, given.get("role"))
            if value is not None:
                values[column.name] = value
        try:
            found = await self.connection.execute(table.insert().values(**values).returning(*table.columns))
        except sa.exc.DBAPIError as error:
            raise AssertionError(
                f"no row of {table.name} could be made: say in VALUES of tests/tenants.py what"
                f" belongs into it ({str(error.orig).splitlines()[0]})"
            ) from error
        return dict(found.one()._mapping)

    def _value(self, table: sa.Table, column: sa.Column[Any], role: Role | None) -> Any:
        """What stands in a column; None where nothing is said, or the default does."""
        full = f"{table.name}.{column.name}"
        if full in VALUES:
            said = VALUES[full]
            return said(self) if callable(said) else said
        if full == "accounts_user.backoffice_id" and role is Role.EV_OWNER:
            return None
        if (reference := self._reference(table, column)) is not None:
            return reference
        if column.foreign_keys or column.default is not None or has_default(column):
            return None
        if table.name in OF_ALL:
            return self._guess(column, f"Everybody's {self.name}")
        return self._guess(column, self.station_marker if is_of_station(table) else self.marker)

    def _reference(self, table: sa.Table, column: sa.Column[Any]) -> Any:
        """The id that stands in a column which refers to another row, by a foreign key or by its name."""
        by_name = {
            "backoffice_id": ("accounts_backoffice", "id"),
            "station_id": ("stations_station", "id"),
            "charger_id": ("stations_charger", "id"),
        }
        if column.name in by_name:
            home, name = by_name[column.name]
            return self.rows[home][name]
        for key in column.foreign_keys:
            target = key.column
            if target.table is table:
                return None
            if target.table.name != "accounts_user":
                row = self.rows.get(target.table.name)
                return None if row is None else row[target.name]
        is_user = any(key.column.table.name == "accounts_user" for key in column.foreign_keys)
        if isinstance(column.type, sa.Uuid) and (
            is_user or PERSONS.search(column.name) or STAFF.search(column.name)
        ):
            role = Role.BACKOFFICE if STAFF.search(column.name) else Role.EV_OWNER
            row = self.rows.get(f"accounts_user:{role}")
            return None if row is None else row["id"]
        return None

    def _guess(self, column: sa.Column[Any], marker: str) -> Any:
        kind = column.type
        if isinstance(kind, sa.String):
            return self._text(column, marker, kind.length or 200)
        if column.nullable:
            return None
        if isinstance(kind, JSONB):
            return {"note": marker}
        if isinstance(kind, sa.Uuid):
            return uuid4()
        if isinstance(kind, sa.Boolean):
            return False
        if isinstance(kind, sa.Date):
            return date(2026, 5, 4)
        if isinstance(kind, sa.LargeBinary):
            return f"{marker}{next(self._numbers)}".encode()
        if isinstance(kind, sa.Integer):
            return next(self._numbers)
        if isinstance(kind, sa.Numeric | sa.Double | sa.Float):
            return 1
        if isinstance(kind, sa.ARRAY):
            return []
        return NOW

    def _text(self, column: sa.Column[Any], marker: str, length: int) -> str | None:
        if WORDS.search(column.name) and column.nullable:
            return None
        number = next(self._numbers)
        if "email" in column.name or column.name == "recipient":
            return f"{marker}.{number}@example.com".lower()
        return f"{marker}{number}"[:length]

    def ids(self, *, of_station: bool = False) -> set[str]:
        """Every id of its rows that nobody else may see; `of_station` narrows it to those of its station."""
        found: set[str] = set()
        for name, row in self.rows.items():
            table = Base.metadata.tables[name.partition(":")[0]]
            if table.name in OF_ALL or (of_station and not is_of_station(table)):
                continue
            found |= {str(row[one.name]) for one in table.primary_key if isinstance(row[one.name], UUID)}
        return found | {self.rows["stations_charger"]["id"].lower()}

    def secrets(self) -> set[str]:
        """What no other tenant may ever read: markers and ids."""
        named = {self.rows["accounts_token"]["id_tag"].lower(), self.rows["accounts_driver"]["nic"]}
        return {self.marker.lower(), self.station_marker.lower(), *named, *self.ids()}

    async def digest(self, *, of_station: bool = False) -> dict[str, tuple[int, str]]:
        """Return of each table how many rows tell of this tenant, and a digest of them.

        `of_station` narrows it to what tells of its station. The text of an id tag tells of nobody: each
        business may have a tag of that text.
        """
        markers = [self.station_marker] if of_station else [self.marker, self.station_marker]
        mine = "|".join([*markers, *sorted(self.ids(of_station=of_station))])
        parts = [
            f"SELECT '{table.name}', count(*), md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), ''))"  # noqa: S608
            f" FROM {table.name} t WHERE t::text ~* :mine"
            for table in Base.metadata.sorted_tables
        ]
        found = await self.connection.execute(sa.text(" UNION ALL ".join(parts)), {"mine": mine})
        return {name: (number, digest) for name, number, digest in found}


def has_default(column: sa.Column[Any]) -> bool:
    """Whether the database itself says what stands in a column; an empty text says nothing."""
    default = column.server_default
    return default is not None and str(getattr(default, "arg", default)) not in {"", "''"}


def is_text(column: sa.Column[Any]) -> bool:
    """Whether a column holds a free text."""
    return isinstance(column.type, sa.String) and column.default is None and not has_default(column)


def is_of_station(table: sa.Table) -> bool:
    """Whether the rows of a table belong to a station: themselves, or by what they refer to."""
    if table.name in {"stations_station", "stations_charger"}:
        return True
    if {"station_id", "charger_id"} & set(table.columns.keys()):
        return True
    return any(is_of_station(one) for one in _required(table))


def _required(table: sa.Table) -> Iterator[sa.Table]:
    """The tables that each row of a table refers to."""
    for column in table.columns:
        if not column.nullable:
            yield from (key.column.table for key in column.foreign_keys if key.column.table is not table)
