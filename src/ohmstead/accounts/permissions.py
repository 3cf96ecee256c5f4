"""Who may do what: the one table. Every route is in it, or the application does not start.

A permission has a name (`stations:read`), the roles that have it, and the routes that it opens. Which rows a
caller sees and changes is no matter of this table: a Backoffice acts within its business, an Operator at its
stations, a driver for itself, by the scope of every query (`accounts.principal`).

SystemAdmin stands above all of it. `api_key` tells whether a machine may be given the permission.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from ohmstead.accounts.models import Role
from ohmstead.core.errors import StartupError

ADMIN = frozenset({Role.SYSTEM_ADMIN})
MANAGERS = ADMIN | {Role.BACKOFFICE}
STAFF = MANAGERS | {Role.OPERATOR}
EVERYBODY = frozenset(Role)
ANONYMOUS: frozenset[Role] = frozenset()
"""No sign-in is asked for; what guards such a route, if anything does, its permission says."""


@dataclass(frozen=True, slots=True)
class Permission:
    """What it allows in words, who has it, and which routes (`METHOD /path/{parameter}`) it opens."""

    text: str
    roles: frozenset[Role]
    routes: tuple[str, ...]
    api_key: bool = False

    @property
    def anonymous(self) -> bool:
        """Whether nobody need sign in."""
        return not self.roles


def _of(*routes: str) -> tuple[str, ...]:
    """Return routes written as `GET,PUT /path`, one for each method."""
    return tuple(
        f"{method} {path}"
        for methods, _, path in (route.partition(" ") for route in routes)
        for method in methods.split(",")
    )


CHARGER = "/api/admin/chargers/{charger_id}"

PERMISSIONS: dict[str, Permission] = {
    # --- for everybody
    "health": Permission(
        "See whether the server is at work (`/metrics` by its own token)",
        ANONYMOUS,
        _of("GET,HEAD /health", "GET,HEAD /health/ready", "GET /metrics"),
    ),
    "documentation": Permission(
        "Read the description of the API",
        ANONYMOUS,
        _of(
            "GET /docs",
            "GET /swagger",
            "GET /docs/start.js",
            "GET /docs/icon.svg",
            "GET /docs/swagger-ui.css",
            "GET /docs/swagger-ui-bundle.js",
        ),
    ),
    "pages": Permission(
        "Open the pages that mails and stickers lead to, and use their links",
        ANONYMOUS,
        _of(
            "GET,HEAD /",
            "GET,HEAD /sign-in",
            "GET,HEAD /c/{charger_id}/{connector}",
            "GET,HEAD,POST /reset-password",
            "GET,HEAD,POST /verify-email",
            "GET,HEAD,POST /invite/{token:path}",
            "GET,HEAD,POST /reset-password/{token:path}",
            "GET,HEAD,POST /verify-email/{token:path}",
            "GET,HEAD,POST /change-email/{token:path}",
        ),
    ),
    "sign-in": Permission(
        "Sign in",
        ANONYMOUS,
        _of(
            "POST /api/auth/login",
            "POST /api/auth/login/second-factor",
            "POST /api/auth/refresh",
        ),
    ),
    "files:by-link": Permission(
        "Fetch and bring files by a signed link (chargers do)",
        ANONYMOUS,
        _of(
            "GET,HEAD /files/{token}/{name}",
            "PUT,POST /uploads/{token}",
            "PUT,POST /uploads/{token}/{filename:path}",
        ),
    ),
    "photos:read": Permission("See the photos of stations", ANONYMOUS, _of("GET /photos/{photo}.jpg")),
    "sign-in:elsewhere": Permission(
        "Sign in at an identity provider",
        ANONYMOUS,
        _of(
            "GET /api/auth/providers",
            "GET /api/auth/oidc/{provider_id}/start",
            "GET /api/auth/oidc/{provider_id}/callback",
            "POST /api/auth/oidc/token",
        ),
    ),
    "self:identities": Permission(
        "See, link and unlink the own identities elsewhere",
        EVERYBODY,
        _of("GET,POST /api/auth/identities", "DELETE /api/auth/identities/{identity_id}"),
    ),
    "identity-providers:manage": Permission(
        "See, make, change and delete identity providers",
        ADMIN,
        _of(
            "GET,POST /api/admin/identity-providers",
            "GET,PUT,DELETE /api/admin/identity-providers/{provider_id}",
        ),
    ),
    "sign-out": Permission("Sign out", ANONYMOUS, _of("POST /api/auth/sign-out")),
    "password:reset": Permission(
        "Choose a new password by a mailed link",
        ANONYMOUS,
        _of("POST /api/auth/password-reset", "POST /api/auth/password-reset/{token}"),
    ),
    "password:change": Permission("Change the own password", EVERYBODY, _of("PUT /api/auth/password")),
    "second-factor": Permission(
        "Set up the own second factor, and take it away",
        EVERYBODY,
        _of(
            "GET,POST /api/auth/second-factor",
            "POST /api/auth/second-factor/confirm",
            "POST /api/auth/second-factor/recovery-codes",
            "POST /api/auth/second-factor/disable",
        ),
    ),
    "sign-ins": Permission(
        "See where one is signed in, and sign out there",
        EVERYBODY,
        _of(
            "GET /api/auth/sessions",
            "DELETE /api/auth/sessions/{session_id}",
            "POST /api/auth/sign-out-everywhere",
        ),
    ),
    "self": Permission("See the own account", EVERYBODY, _of("GET /api/auth/me")),
    # --- businesses and people
    "businesses:request": Permission(
        "Ask for an account for a business", ANONYMOUS, _of("POST /api/backoffice/request")
    ),
    "invites:accept": Permission(
        "Accept an invitation, by the link that was mailed",
        ANONYMOUS,
        _of("GET,POST /api/auth/invite/{token}"),
    ),
    "drivers:register": Permission("Register as a driver", ANONYMOUS, _of("POST /api/evowner")),
    "email:verify": Permission(
        "Verify an e-mail address, or change to it, by the link that was mailed",
        ANONYMOUS,
        _of(
            "POST /api/auth/verify-email",
            "POST /api/auth/verify-email/resend",
            "POST /api/auth/email/confirm",
        ),
    ),
    "email:change": Permission("Ask for another e-mail address", EVERYBODY, _of("POST /api/auth/email")),
    "drivers:profile": Permission(
        "See and deactivate a driver: itself, and a Backoffice those that charged with it",
        MANAGERS | {Role.EV_OWNER},
        _of("GET /api/evowner/{nic}", "PUT /api/evowner/{nic}/deactivate"),
    ),
    "drivers:change": Permission(
        "Change the profile of a driver: its own", ADMIN | {Role.EV_OWNER}, _of("PUT /api/evowner/{nic}")
    ),
    "drivers:sessions": Permission(
        "See what a driver has charged: its own, and a Backoffice what was charged with it",
        MANAGERS | {Role.EV_OWNER},
        _of("GET /api/evowner/{nic}/sessions"),
    ),
    "drivers:reactivate": Permission(
        "Reactivate drivers", MANAGERS, _of("PUT /api/evowner/{nic}/reactivate")
    ),
    "vehicles:read": Permission(
        "See the vehicles of a driver",
        MANAGERS | {Role.EV_OWNER},
        _of("GET /api/evowner/{nic}/vehicles", "GET /api/evowner/{nic}/vehicles/{vehicle_id}"),
    ),
    "vehicles:manage": Permission(
        "Add, change and remove the own vehicles",
        ADMIN | {Role.EV_OWNER},
        _of("POST /api/evowner/{nic}/vehicles", "PUT,DELETE /api/evowner/{nic}/vehicles/{vehicle_id}"),
    ),
    "cards:read": Permission(
        "See the cards of a driver", MANAGERS | {Role.EV_OWNER}, _of("GET /api/evowner/{nic}/cards")
    ),
    "cards:manage": Permission(
        "Add, block and remove the own cards",
        ADMIN | {Role.EV_OWNER},
        _of(
            "POST /api/evowner/{nic}/cards",
            "PUT,DELETE /api/evowner/{nic}/cards/{card_id}",
            "PUT /api/evowner/{nic}/cards/{card_id}/block",
            "PUT /api/evowner/{nic}/cards/{card_id}/unblock",
            "PUT /api/evowner/{nic}/cards/{card_id}/lost",
        ),
    ),
    "cards:approve": Permission(
        "Approve and reject the cards of drivers",
        MANAGERS,
        _of(
            "GET /api/evowner/cards",
            "PUT /api/evowner/{nic}/cards/{card_id}/approve",
            "PUT /api/evowner/{nic}/cards/{card_id}/reject",
        ),
    ),
    "businesses:decide": Permission(
        "Approve and reject businesses that ask for an account",
        ADMIN,
        _of(
            "GET /api/backoffice",
            "PUT /api/backoffice/{backoffice_id}/approve",
            "PUT /api/backoffice/{backoffice_id}/reject",
            "POST /api/backoffice/{backoffice_id}/invite",
        ),
    ),
    "businesses:read": Permission(
        "See a business, a Backoffice its own", MANAGERS, _of("GET /api/backoffice/{backoffice_id}")
    ),
    "businesses:change": Permission(
        "Change a business, a Backoffice its own", MANAGERS, _of("PUT /api/backoffice/{backoffice_id}")
    ),
    "operators:manage": Permission(
        "See, make, change and disable operators",
        MANAGERS,
        _of(
            "GET,POST /api/operator",
            "GET,PUT /api/operator/{operator_id}",
            "PUT /api/operator/{operator_id}/disable",
            "PUT /api/operator/{operator_id}/enable",
            "POST /api/operator/{operator_id}/invite",
        ),
    ),
    "businesses:manage": Permission(
        "See and make businesses",
        ADMIN,
        _of("GET,POST /api/admin/backoffices", "GET /api/admin/backoffices/{backoffice_id}"),
    ),
    "users:manage": Permission(
        "See, invite and change users, with their cards, sessions and history",
        MANAGERS,
        _of(
            "GET,POST /api/admin/users",
            "GET,PUT /api/admin/users/{user_id}",
            "POST /api/admin/users/{user_id}/invite",
            "POST /api/admin/users/{user_id}/reset-second-factor",
            "GET /api/admin/users/{user_id}/sign-ins",
            "GET /api/admin/users/{user_id}/cards",
            "GET /api/admin/users/{user_id}/sessions",
            "GET /api/admin/users/{user_id}/history",
        ),
    ),
    "api-keys:manage": Permission(
        "See, make, change and revoke API keys",
        MANAGERS,
        _of("GET,POST /api/admin/api-keys", "GET,PUT,DELETE /api/admin/api-keys/{key_id}"),
    ),
    "personal-data:manage": Permission(
        "Give out, and erase, what is kept about somebody",
        ADMIN,
        _of(
            "POST /api/admin/users/{user_id}/personal-data",
            "GET /api/admin/personal-data",
            "GET /api/admin/personal-data/{personal_data_id}",
        ),
    ),
    "personal-data:own": Permission(
        "Get, and have erased, what is kept about oneself",
        ADMIN | {Role.EV_OWNER},
        _of("GET,POST /api/auth/me/personal-data", "GET /api/auth/me/personal-data/{personal_data_id}"),
    ),
    "mail:read": Permission(
        "See what was written to people", ADMIN, _of("GET /api/admin/mail", "GET /api/admin/mail/{mail_id}")
    ),
    "audit:read": Permission(
        "Read and export the audit trail",
        MANAGERS,
        _of("GET /api/admin/audit", "GET /api/admin/audit/export"),
        api_key=True,
    ),
    # --- stations and chargers
    "stations:read": Permission(
        "See stations",
        STAFF,
        _of("GET /api/admin/stations", "GET /api/admin/stations/{station_id}"),
        api_key=True,
    ),
    "stations:manage": Permission(
        "Make, change and delete stations",
        MANAGERS,
        _of(
            "POST /api/admin/stations",
            "PUT,DELETE /api/admin/stations/{station_id}",
            "PUT,DELETE /api/admin/stations/{station_id}/photo",
        ),
        api_key=True,
    ),
    "chargers:read": Permission(
        "See chargers, their connectors and what they reported",
        STAFF,
        _of(
            "GET /api/admin/chargers",
            f"GET {CHARGER}",
            f"GET {CHARGER}/status-history",
            f"GET {CHARGER}/reports",
            f"GET {CHARGER}/diagnosis",
        ),
        api_key=True,
    ),
    "chargers:manage": Permission(
        "Make, change, retire and delete chargers, and change their passwords",
        MANAGERS,
        _of(
            "POST,DELETE /api/admin/chargers",
            f"PUT,DELETE {CHARGER}",
            f"POST {CHARGER}/rotate-password",
        ),
        api_key=True,
    ),
    "chargers:command": Permission(
        "Send commands to chargers",
        STAFF,
        _of(
            f"POST {CHARGER}/commands/{{action}}",
            f"POST {CHARGER}/remote-start",
            f"POST {CHARGER}/remote-stop",
            f"POST {CHARGER}/availability",
            f"POST {CHARGER}/reset",
            f"POST {CHARGER}/unlock",
        ),
        api_key=True,
    ),
    "id-tags:read": Permission(
        "See id tags",
        STAFF,
        _of("GET /api/admin/id-tags", "GET /api/admin/id-tags/{id_tag}"),
        api_key=True,
    ),
    "id-tags:manage": Permission(
        "Make, change and delete id tags",
        MANAGERS,
        _of("POST /api/admin/id-tags", "PUT,DELETE /api/admin/id-tags/{id_tag}"),
        api_key=True,
    ),
    # --- sessions
    "sessions:read": Permission(
        "See sessions and their meter values",
        STAFF,
        _of(
            "GET /api/admin/transactions",
            "GET /api/admin/transactions/{transaction_id}",
            "GET /api/admin/transactions/{transaction_id}/meter-values",
        ),
        api_key=True,
    ),
    "sessions:stop": Permission(
        "End sessions",
        STAFF,
        _of("POST /api/admin/transactions/{transaction_id}/force-stop"),
        api_key=True,
    ),
    # --- fleet
    "configuration:read": Permission(
        "See the configuration of chargers, and templates",
        STAFF,
        _of(
            f"GET {CHARGER}/configuration",
            f"GET {CHARGER}/configuration/history",
            "GET /api/admin/configuration-templates",
            "GET /api/admin/configuration-templates/{template_id}",
            "GET /api/admin/configuration-templates/{template_id}/chargers",
        ),
        api_key=True,
    ),
    "configuration:change": Permission(
        "Change the configuration of chargers", STAFF, _of(f"PUT {CHARGER}/configuration"), api_key=True
    ),
    "configuration:manage": Permission(
        "Make, change and assign configuration templates",
        MANAGERS,
        _of(
            "POST /api/admin/configuration-templates",
            "PUT,DELETE /api/admin/configuration-templates/{template_id}",
        ),
        api_key=True,
    ),
    "campaigns:read": Permission(
        "See campaigns",
        STAFF,
        _of(
            "GET /api/admin/campaigns",
            "GET /api/admin/campaigns/{campaign_id}",
            "GET /api/admin/campaigns/{campaign_id}/items",
        ),
        api_key=True,
    ),
    "campaigns:manage": Permission(
        "Begin, pause and end campaigns",
        MANAGERS,
        _of(
            "POST /api/admin/campaigns",
            "POST /api/admin/campaigns/{campaign_id}/pause",
            "POST /api/admin/campaigns/{campaign_id}/resume",
            "POST /api/admin/campaigns/{campaign_id}/cancel",
        ),
        api_key=True,
    ),
    "firmware:read": Permission(
        "See firmware and updates",
        STAFF,
        _of(
            "GET /api/admin/firmware",
            "GET /api/admin/firmware/{firmware_id}",
            "GET /api/admin/firmware/{firmware_id}/file",
            f"GET {CHARGER}/firmware-updates",
            "GET /api/admin/firmware-updates",
            "GET /api/admin/firmware-updates/{update_id}",
            "GET /api/admin/firmware-updates/{update_id}/history",
        ),
        api_key=True,
    ),
    "firmware:update": Permission(
        "Update the firmware of chargers", STAFF, _of(f"POST {CHARGER}/firmware-updates"), api_key=True
    ),
    "firmware:manage": Permission(
        "Bring and remove firmware",
        MANAGERS,
        _of("POST /api/admin/firmware", "DELETE /api/admin/firmware/{firmware_id}"),
        api_key=True,
    ),
    "diagnostics:read": Permission(
        "See diagnostics and logs of chargers",
        STAFF,
        _of(
            "GET /api/admin/diagnostics",
            "GET /api/admin/diagnostics/{diagnostics_id}",
            "GET /api/admin/diagnostics/{diagnostics_id}/history",
            "GET /api/admin/diagnostics/{diagnostics_id}/file",
        ),
        api_key=True,
    ),
    "diagnostics:ask": Permission(
        "Ask chargers for diagnostics and logs",
        STAFF,
        _of(f"POST {CHARGER}/diagnostics", f"POST {CHARGER}/logs"),
        api_key=True,
    ),
    "local-lists:read": Permission(
        "See the local lists of chargers, and their rules",
        STAFF,
        _of(
            "GET /api/admin/local-lists",
            f"GET {CHARGER}/local-list",
            "GET /api/admin/local-list-rules",
            "GET /api/admin/local-list-rules/{rule_id}",
        ),
        api_key=True,
    ),
    "local-lists:send": Permission(
        "Send local lists to chargers", STAFF, _of(f"POST {CHARGER}/local-list"), api_key=True
    ),
    "local-lists:manage": Permission(
        "Make, change and delete the rules of local lists",
        MANAGERS,
        _of(
            "POST /api/admin/local-list-rules",
            "PUT,DELETE /api/admin/local-list-rules/{rule_id}",
        ),
        api_key=True,
    ),
    "reservations:read": Permission(
        "See reservations at chargers",
        STAFF,
        _of("GET /api/admin/reservations", "GET /api/admin/reservations/{key}"),
        api_key=True,
    ),
    "reservations:manage": Permission(
        "Reserve connectors, and end reservations",
        STAFF,
        _of(f"POST {CHARGER}/reserve", "POST /api/admin/reservations/{key}/cancel"),
        api_key=True,
    ),
    "charging-profiles:read": Permission(
        "See charging profiles, and what they come to",
        STAFF,
        _of(
            "GET /api/admin/charging-profiles",
            "GET /api/admin/charging-profiles/{profile_id}",
            f"GET {CHARGER}/charging-profiles",
            f"GET {CHARGER}/composite-schedule",
        ),
        api_key=True,
    ),
    "charging-profiles:assign": Permission(
        "Give charging profiles to chargers, and clear them there",
        STAFF,
        _of(f"POST,DELETE {CHARGER}/charging-profiles"),
        api_key=True,
    ),
    "charging-profiles:manage": Permission(
        "Make, change and delete charging profiles",
        MANAGERS,
        _of(
            "POST /api/admin/charging-profiles",
            "PUT,DELETE /api/admin/charging-profiles/{profile_id}",
        ),
        api_key=True,
    ),
    "tables:export": Permission(
        "Export stations, chargers and id tags, and print stickers",
        STAFF,
        _of(
            "GET /api/admin/stations.csv",
            "GET /api/admin/chargers.csv",
            "GET /api/admin/id-tags.csv",
            "GET /api/admin/stickers.pdf",
        ),
        api_key=True,
    ),
    "tables:import": Permission(
        "Import stations, chargers and id tags",
        MANAGERS,
        _of(
            "POST /api/admin/stations.csv",
            "POST /api/admin/chargers.csv",
            "POST /api/admin/id-tags.csv",
        ),
        api_key=True,
    ),
    # --- what goes on
    "live": Permission(
        "Watch what happens live, within the own scope", STAFF, _of("WEBSOCKET /api/live"), api_key=True
    ),
    "ocpp:read": Permission(
        "Read the log of messages, connections and refusals",
        STAFF,
        _of(
            "GET /api/admin/ocpp/messages", "GET /api/admin/ocpp/refusals", "GET /api/admin/ocpp/connections"
        ),
        api_key=True,
    ),
    "alerts:read": Permission("See alerts", STAFF, _of("GET /api/admin/alerts"), api_key=True),
    "alerts:clear": Permission(
        "Clear alerts", STAFF, _of("POST /api/admin/alerts/{alert_id}/clear"), api_key=True
    ),
}

PERMISSION_OF: dict[str, str] = {
    route: name for name, permission in PERMISSIONS.items() for route in permission.routes
}
"""The name of the permission that a route needs."""


FOR_MACHINES: tuple[str, ...] = tuple(name for name, permission in PERMISSIONS.items() if permission.api_key)
"""The permissions that an API key may have."""


def check_routes(routes: Iterable[str]) -> None:
    """Refuse to start with a route that nobody has thought about, or an entry that opens nothing.

    Raises `StartupError` with every route of either kind.
    """
    there = set(routes)
    forgotten, idle = sorted(there - PERMISSION_OF.keys()), sorted(PERMISSION_OF.keys() - there)
    faults = [f"{route} has no permission" for route in forgotten]
    faults += [f"{route} is opened by {PERMISSION_OF[route]} and does not exist" for route in idle]
    if faults:
        raise StartupError("; ".join(faults), "Mend the table in accounts/permissions.py.")


def permission_for(method: str, path: str) -> Permission:
    """Return the permission that a route needs. The start has made sure that there is one."""
    return PERMISSIONS[PERMISSION_OF[f"{method} {path}"]]


HEAD = """\
# Who may do what

This page is made from the table in `src/ohmstead/accounts/permissions.py`, which is also what the server
asks: `python -m ohmstead.accounts.permissions > docs/permissions.md`. A route that is not in it keeps the
server from starting.

Which rows somebody sees and changes is said by the query: a Backoffice acts within its business, an
Operator at its stations, a driver for itself. What is not theirs does not exist for them (404). An
[API key](api-keys.md) has those of the permissions marked so that it was given.

"""


def as_markdown() -> str:
    """Return the table as the page docs/permissions.md shows it."""
    lines = [
        *HEAD.splitlines(),
        "| permission | what it allows | " + " | ".join(Role) + " | API key |",
        "|---|---|" + "---|" * len(Role) + "---|",
    ]
    for name, permission in PERMISSIONS.items():
        marks = ["anyone"] * len(Role) if permission.anonymous else [_mark(permission, role) for role in Role]
        machine = "yes" if permission.api_key else ""
        lines.append(f"| `{name}` | {permission.text} | {' | '.join(marks)} | {machine} |")
    lines += ["", "## Routes", "", "| route | permission |", "|---|---|"]
    lines += [f"| `{route}` | `{name}` |" for route, name in sorted(PERMISSION_OF.items(), key=_by_path)]
    return "\n".join(lines) + "\n"


def _mark(permission: Permission, role: Role) -> str:
    return "yes" if role in permission.roles else ""


def _by_path(entry: tuple[str, str]) -> tuple[str, str]:
    method, _, path = entry[0].partition(" ")
    return path, method


if __name__ == "__main__":
    print(as_markdown(), end="")  # noqa: T201 # it is what the command is for
