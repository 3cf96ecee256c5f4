"""Which endpoints the API has: the routers of every domain, and what its contract says of itself."""

from collections.abc import Iterator

from fastapi.routing import APIRoute, APIWebSocketRoute

from ohmstead.accounts import api_keys_endpoints as api_keys
from ohmstead.accounts import audit_endpoints as audit
from ohmstead.accounts import businesses_endpoints as businesses
from ohmstead.accounts import businesses_requests_endpoints as businesses_requests
from ohmstead.accounts import cards_endpoints as cards
from ohmstead.accounts import drivers_endpoints as drivers
from ohmstead.accounts import email_change_endpoints as email_change
from ohmstead.accounts import endpoints as auth
from ohmstead.accounts import id_tags_endpoints as id_tags
from ohmstead.accounts import invites_endpoints as invites
from ohmstead.accounts import link_pages
from ohmstead.accounts import mail_endpoints as mail
from ohmstead.accounts import oidc_endpoints as oidc
from ohmstead.accounts import oidc_identities_endpoints as oidc_identities
from ohmstead.accounts import oidc_providers_endpoints as oidc_providers
from ohmstead.accounts import operators_endpoints as operators
from ohmstead.accounts import password_endpoints as passwords
from ohmstead.accounts import personal_data_endpoints as personal_data
from ohmstead.accounts import refresh_tokens_endpoints as sessions
from ohmstead.accounts import second_factor_endpoints as second_factor
from ohmstead.accounts import users_endpoints as users
from ohmstead.accounts import vehicles_endpoints as vehicles
from ohmstead.accounts import verification_endpoints as verification
from ohmstead.bookings import reservations_endpoints as reservations
from ohmstead.charging import drivers_endpoints as drivers_sessions
from ohmstead.charging import endpoints as transactions
from ohmstead.charging import users_endpoints as users_sessions
from ohmstead.core import docs, downloads
from ohmstead.energy import chargers_endpoints as smart_charging
from ohmstead.energy import endpoints as profiles
from ohmstead.fleet.campaigns import endpoints as campaigns
from ohmstead.fleet.configuration import endpoints as configuration
from ohmstead.fleet.configuration import templates_endpoints as configuration_templates
from ohmstead.fleet.diagnostics import endpoints as diagnostics
from ohmstead.fleet.diagnostics import uploads_endpoints as uploads
from ohmstead.fleet.firmware import endpoints as firmware
from ohmstead.fleet.firmware import updates_endpoints as firmware_updates
from ohmstead.fleet.local_lists import endpoints as local_lists
from ohmstead.fleet.onboarding import sticker_page
from ohmstead.fleet.onboarding import stickers_endpoints as stickers
from ohmstead.fleet.onboarding import tables_endpoints as tables
from ohmstead.gateway import endpoints as ocpp
from ohmstead.insights import diagnosis_endpoints as diagnosis
from ohmstead.insights import health, live
from ohmstead.notifications import endpoints as alerts
from ohmstead.stations import chargers_endpoints as chargers
from ohmstead.stations import commands_endpoints as commands
from ohmstead.stations import endpoints as stations
from ohmstead.stations import photos_endpoints as photos

ROUTERS = (
    health.router,
    docs.router,
    link_pages.router,
    sticker_page.router,
    auth.router,
    sessions.router,
    passwords.router,
    second_factor.router,
    oidc.router,
    oidc_identities.router,
    oidc_providers.router,
    users.router,
    users_sessions.router,
    businesses.router,
    businesses_requests.router,
    invites.router,
    operators.router,
    verification.router,
    email_change.router,
    cards.router,
    drivers.router,
    drivers_sessions.router,
    vehicles.router,
    id_tags.router,
    stations.router,
    photos.router,
    chargers.router,
    commands.router,
    configuration.router,
    configuration_templates.router,
    campaigns.router,
    local_lists.router,
    reservations.router,
    transactions.router,
    profiles.router,
    smart_charging.router,
    tables.router,
    stickers.router,
    ocpp.router,
    alerts.router,
    api_keys.router,
    mail.router,
    audit.router,
    personal_data.admin_router,
    personal_data.own_router,
    firmware.router,
    firmware_updates.router,
    diagnostics.router,
    diagnosis.router,
    downloads.router,
    uploads.router,
    live.router,
)
ABOUT = """\
An open charging-network platform: stations, chargers, sessions, live.

Sign in by `POST /api/auth/login` and send the `accessToken` as `Authorization: Bearer ...`.

Lists come in pages: pass `next_cursor` as `cursor` until it is null. Times are UTC, ISO 8601 with `Z`.
Every error has the one shape `{"error", "message", "detail"}`, with `fields` where input was refused.

Two addresses speak WebSocket and so are not listed below: chargers connect to `/ocpp/{id}` (OCPP 1.6J),
and `/api/live` tells what happens while it happens.
"""
TAGS = {
    "Auth": "Signing in, and who am I.",
    "Businesses": "The owners of stations, chargers and id tags.",
    "Drivers": "Registration, profiles, vehicles and cards of those who charge.",
    "Operators": "Who works at which stations of a business.",
    "Users": "Who there is, and who may act where.",
    "API keys": "What machines sign in with.",
    "Identity providers": "Where else people may sign in.",
    "Stations": "Places with chargers.",
    "Chargers": "Charging stations that speak OCPP, their connectors and what they reported.",
    "Commands": "What a charger is asked to do; the answer is the charger's own.",
    "Configuration": "What chargers are set to, and what they should be set to.",
    "Campaigns": "The same work on many chargers, in waves.",
    "Local lists": "The tags that chargers know by themselves.",
    "Reservations": "What chargers keep for a driver.",
    "Id tags": "What drivers show to chargers.",
    "Transactions": "Charging sessions with their meter values.",
    "OCPP": "What went over the wire, and who was let in or not.",
    "Audit": "Who changed what, when and why.",
    "Personal data": "All that is kept about a person: given out, and erased.",
    "Mail": "What was written to people, and whether it went out.",
    "Diagnostics": "Files that chargers were asked for: diagnostics and logs.",
    "Firmware": "Images, and the updates of chargers by them.",
    "Files": "What chargers get and leave by links that were given to them.",
    "Import and export": "Stations, chargers and id tags as tables.",
    "Smart charging": "Charging profiles, and what the limits of a charger come to.",
    "Alerts": "What an operator should look at.",
    "Operations": "How the server is: for load balancers and Prometheus.",
}


def routes() -> Iterator[str]:
    """Give every route of the API as the table of permissions names it."""
    for route in (route for router in ROUTERS for route in router.routes):
        if isinstance(route, APIRoute):
            yield from (f"{method} {route.path}" for method in sorted(route.methods or ()))
        elif isinstance(route, APIWebSocketRoute):
            yield f"WEBSOCKET {route.path}"
