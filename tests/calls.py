"""Requests for every route of the OpenAPI document, with ids that exist: new routes are in here."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import Any
from urllib.parse import quote, urlencode

import httpx

from ohmstead.accounts.models import Role
from ohmstead.app import create_app
from ohmstead.core.config import Settings
from tests.conftest import SECRET
from tests.tenants import NOW, PROFILE, Tenant

MADE_UP = "zqmadeup"
"""What bodies say where any text will do."""
Factory = Callable[[Tenant], list[Any]]


def of(table: str, *columns: str) -> Factory:
    """The ids of the row that a tenant has in a table."""
    return lambda tenant: [tenant.rows[table][column] for column in columns or ("id",)]


def users(tenant: Tenant) -> list[Any]:
    return [tenant.people[role].id for role in (Role.BACKOFFICE, Role.OPERATOR, Role.EV_OWNER)]


def made_up(*values: Any) -> Factory:
    """What is nobody's."""
    return lambda _: list(values)


IDS: dict[str, tuple[str | None, Factory]] = {
    "action": (None, made_up("Reset")),
    "card_id": ("accounts_token", of("accounts_token")),
    "identity_id": ("accounts_identity", of("accounts_identity")),
    "nic": ("accounts_driver", of("accounts_driver", "nic")),
    "operator_id": ("accounts_user", users),
    "personal_data_id": ("accounts_personal_data", of("accounts_personal_data")),
    "photo": (None, made_up("0" * 32)),
    "provider_id": (None, of("accounts_identity_provider")),
    "user": ("accounts_user", users),
    "vehicle_id": ("accounts_vehicle", of("accounts_vehicle")),
    "/api/auth/sessions/{session_id} session_id": (
        "accounts_sign_in_session",
        of("accounts_sign_in_session"),
    ),
    "alert_id": ("notifications_alert", of("notifications_alert")),
    "backoffice_id": ("accounts_backoffice", of("accounts_backoffice")),
    "campaign_id": ("fleet_campaign", of("fleet_campaign")),
    "charger": ("stations_charger", of("stations_charger")),
    "charger_id": ("stations_charger", of("stations_charger")),
    "connector_id": (None, made_up(1)),
    "diagnostics_id": ("fleet_diagnostics", of("fleet_diagnostics")),
    "entity_id": ("stations_station", of("stations_station")),
    "firmware_id": ("fleet_firmware", of("fleet_firmware")),
    "id_tag": ("accounts_token", of("accounts_token", "id_tag", "id")),
    "key_id": ("accounts_api_key", of("accounts_api_key")),
    "key": ("bookings_reservation", of("bookings_reservation")),
    "mail_id": ("mail_mail", of("mail_mail")),
    "name": (None, made_up("file.bin")),
    "operator_station_id": ("stations_station", of("stations_station")),
    "person": ("accounts_user", users),
    "profile_id": ("energy_profile", of("energy_profile")),
    "request_id": (None, made_up("12345678")),
    "reservation_id": (None, made_up(1)),
    "rule_id": ("fleet_local_list_rule", of("fleet_local_list_rule")),
    "station": ("stations_station", of("stations_station")),
    "station_id": ("stations_station", of("stations_station")),
    "template": ("fleet_configuration_template", of("fleet_configuration_template")),
    "template_id": ("fleet_configuration_template", of("fleet_configuration_template")),
    "token": (None, made_up("x" * 48)),
    "transaction_id": ("charging_session", of("charging_session", "id", "ocpp_transaction_id")),
    "update_id": ("fleet_firmware_update", of("fleet_firmware_update")),
    "user_id": ("accounts_user", users),
}
"""Each parameter and member that names a row: whose table that is (None: nobody's), and the ids there.

`station_ids` is found under `station_id`, `stationId` too. One that means something else in one path stands
under that path and its name.
"""

BODIES: dict[str, Callable[[Tenant], Any]] = {
    "create_charging_profile": lambda _: {"name": "Night", "profile": {**without_id(PROFILE)}},
    "create_campaign": lambda tenant: {
        "kind": "Configuration",
        "parameters": {"keys": {"HeartbeatInterval": "300"}},
        "chargers": {"charger_ids": [tenant.rows["stations_charger"]["id"]]},
    },
}
"""The bodies that the description alone does not tell how to make, by the name of the operation."""


def without_id(profile: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in profile.items() if name != "chargingProfileId"}


@dataclass
class Operation:
    """One route of the document."""

    method: str
    path: str
    name: str
    parameters: list[dict[str, Any]]
    contents: dict[str, Any]
    document: dict[str, Any] = field(repr=False)

    @property
    def route(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def path_ids(self) -> list[str]:
        """The parameters of the path that name somebody's row."""
        names = re.findall(r"{(\w+)", self.path)
        return [name for name in names if table_of(self.path, name) is not None]

    @property
    def query_ids(self) -> list[str]:
        """The parameters of the query that name somebody's row."""
        asked = [one for one in self.parameters if one["in"] == "query"]
        names = [one["name"] for one in asked if is_id(one)]
        return [name for name in names if table_of(self.path, name) is not None]


@dataclass
class Call:
    """One request."""

    operation: Operation
    url: str
    content: bytes | None
    kind: str | None

    @property
    def sent(self) -> str:
        return f"{self.url} {(self.content or b'').decode(errors='replace')}".lower()

    async def send(self, client: httpx.AsyncClient, headers: dict[str, str]) -> httpx.Response:
        told = {"content-type": self.kind} if self.kind else {}
        return await client.request(
            self.operation.method, self.url, content=self.content, headers=told | headers
        )

    def __str__(self) -> str:
        return f"{self.operation.method} {self.url} {(self.content or b'').decode()[:300]}"


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document of the application: made once, so leave it as it is."""
    settings = Settings.load(environment="test", database_url="postgresql://nowhere/x", secret_key=SECRET)
    return create_app(settings).openapi()


def operations(document: dict[str, Any]) -> Iterator[Operation]:
    """Every route of the document."""
    for path, methods in document["paths"].items():
        for method, one in methods.items():
            content = one.get("requestBody", {}).get("content", {})
            yield Operation(
                method.upper(), path, one["operationId"], one.get("parameters", []), content, document
            )


def plain_name(name: str) -> str:
    """`stationIds` -> `station_id`."""
    snake = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()
    return snake.removesuffix("s") if snake.endswith("_ids") else snake


def is_id(parameter: dict[str, Any]) -> bool:
    """Whether a parameter of a query may name somebody's row."""
    return parameter["schema"].get("format") == "uuid" or plain_name(parameter["name"]) in IDS


def known(path: str, name: str) -> tuple[str | None, Factory]:
    """What is known of a parameter. Fails where nobody has said it, with what to do."""
    found = next((IDS[key] for key in (f"{path} {name}", plain_name(name)) if key in IDS), None)
    if found is None:
        raise AssertionError(
            f"{path}: whose row does {name} name? Add {plain_name(name)!r} to IDS of tests/calls.py, with the"
            " table and how a tenant finds its id there."
        )
    return found


def table_of(path: str, name: str) -> str | None:
    return known(path, name)[0]


def calls(
    operation: Operation, of_path: Tenant, of_body: Tenant, strange: Mapping[str, Tenant] | None = None
) -> Iterator[Call]:
    """Requests with the ids of one tenant in path and query, and of another in the body.

    `strange` names parameters that name a row of somebody else, and whose.
    """
    strange = strange or {}
    names = re.findall(r"{(\w+)", operation.path)
    choices = [known(operation.path, name)[1](strange.get(name, of_path)) for name in names] or [[]]
    for number in range(max(map(len, choices), default=1) or 1):
        url = operation.path
        for name, values in zip(names, choices, strict=False):
            url = re.sub(rf"{{{name}(:path)?}}", quote(str(values[number % len(values)]), safe=""), url)
        query = _query(operation, of_path, strange)
        content, kind = _body(operation, of_body)
        yield Call(operation, f"{url}?{urlencode(query)}" if query else url, content, kind)
        if query and any(plain_name(name) in IDS for name, _ in query):
            yield Call(operation, url, content, kind)


def _query(operation: Operation, tenant: Tenant, strange: Mapping[str, Tenant]) -> list[tuple[str, Any]]:
    """The query parameters that name rows, and those that must be there."""
    found = []
    for parameter in operation.parameters:
        name, schema = parameter["name"], parameter["schema"]
        if parameter["in"] != "query":
            continue
        if is_id(parameter):
            table, factory = known(operation.path, name)
            if table is not None:
                found.append((name, _fitting(schema, factory(strange.get(name, tenant)))))
        elif parameter.get("required"):
            found.append((name, value_of(operation, schema, tenant)))
    return found


def _body(operation: Operation, tenant: Tenant) -> tuple[bytes | None, str | None]:
    if operation.name in BODIES:
        return json.dumps(BODIES[operation.name](tenant), default=str).encode(), "application/json"
    if "application/json" in operation.contents:
        schema = operation.contents["application/json"]["schema"]
        return json.dumps(value_of(operation, schema, tenant), default=str).encode(), "application/json"
    for kind in operation.contents:
        if kind != "multipart/form-data":
            return b"x", kind
    return None, None


def _fitting(schema: dict[str, Any], values: list[Any]) -> Any:
    """That of several ids which has the type that is asked for."""
    kinds = [one.get("type") for one in (schema, *schema.get("anyOf", ()))]
    whole = "integer" in kinds
    return next((value for value in values if isinstance(value, int) == whole), values[0])


def resolved(operation: Operation, schema: dict[str, Any]) -> dict[str, Any]:
    """Follow references, and take the first of several shapes that is not null."""
    while True:
        if "$ref" in schema:
            place: Any = operation.document
            for part in schema["$ref"].removeprefix("#/").split("/"):
                place = place[part]
            schema = place
        elif several := schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf"):
            schema = next(one for one in several if one.get("type") != "null")
        else:
            return schema


def value_of(operation: Operation, schema: dict[str, Any], tenant: Tenant) -> Any:
    """A value that is taken: what must be there, and every member that names a row."""
    schema = resolved(operation, schema)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type", "object")
    if kind == "object":
        body = dict((schema.get("examples") or [{}])[0])
        for name, member in schema.get("properties", {}).items():
            whole = resolved(operation, member)
            leaf = resolved(operation, whole["items"]) if whole.get("type") == "array" else whole
            if plain_name(name) in IDS and name not in {"name", "key", "token", "action"}:
                table, factory = known(operation.path, name)
                chosen = _fitting(leaf, factory(tenant))
                if table is not None or name in schema.get("required", ()):
                    body[name] = [chosen] if leaf is not whole else chosen
            elif leaf.get("format") == "uuid":
                known(operation.path, name)
            elif name in schema.get("required", ()) or "$ref" in str(member):
                inner = value_of(operation, member, tenant)
                if name in schema.get("required", ()) or (isinstance(inner, dict) and inner):
                    body[name] = inner
        return body
    if schema.get("examples"):
        return schema["examples"][0]
    if kind == "array":
        return [value_of(operation, schema["items"], tenant)] if schema.get("minItems") else []
    if kind in {"integer", "number"}:
        return max(schema.get("minimum", 1), 1)
    if kind == "boolean":
        return True
    if schema.get("format") == "date-time":
        return (NOW + timedelta(hours=1)).isoformat()
    if schema.get("format") == "email":
        return f"{MADE_UP}@example.com"
    return MADE_UP.ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength", 100)]
