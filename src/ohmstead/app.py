"""The application: every domain put together.

`routers.py` lists what the API has, `worker.py` what runs as jobs, `server.py` starts and stops it all.
"""

from urllib.parse import unquote

from fastapi import Depends, FastAPI, Request
from fastapi.responses import Response
from starlette.datastructures import State

from ohmstead.accounts.limits import RateLimits
from ohmstead.accounts.oidc_issuers import Issuers
from ohmstead.accounts.permissions import check_routes
from ohmstead.accounts.person_keys import PersonKeys
from ohmstead.accounts.personal_data import PersonalData
from ohmstead.accounts.personal_data_parts import ACCOUNTS, AUDIT, MAIL
from ohmstead.bookings import reservations_outcomes
from ohmstead.bookings.personal_data import BOOKINGS
from ohmstead.charging.figures import RunningFigures
from ohmstead.charging.personal_data import CHARGING
from ohmstead.core.bodies import no_unread_body
from ohmstead.core.clock import Clock, SystemClock
from ohmstead.core.config import Settings
from ohmstead.core.cors import allow_origins
from ohmstead.core.db import Database
from ohmstead.core.files import Files
from ohmstead.core.http import error_response, install_error_handlers
from ohmstead.core.live import LiveBus, Topic
from ohmstead.core.middleware import OutsideAnswers, RequestScope
from ohmstead.core.openapi import DocumentedApp, operation_id
from ohmstead.core.uploads import FORM_SLACK, PATH_OF_UPLOADS
from ohmstead.energy import outcomes as charging_profiles
from ohmstead.fleet.campaigns.dispatcher import Dispatcher
from ohmstead.fleet.campaigns.work import Means
from ohmstead.fleet.configuration import outcomes as configuration_outcomes
from ohmstead.fleet.kinds import KINDS
from ohmstead.fleet.local_lists import keeping as local_lists_keeping
from ohmstead.fleet.personal_data import FLEET
from ohmstead.gateway.personal_data import MESSAGES
from ohmstead.gateway.server import Gateway
from ohmstead.insights.snapshots import SNAPSHOTS
from ohmstead.link.links import Links
from ohmstead.notifications.personal_data import ALERTS
from ohmstead.notifications.queries import open_alerts
from ohmstead.routers import ABOUT, ROUTERS, TAGS, routes
from ohmstead.stations.outcomes import Commands, Outcomes
from ohmstead.stations.personal_data import STATIONS
from ohmstead.worker import create_jobs

VERSION = "0.1.0"
MAX_BODY = 1_048_576
"""In bytes. No request of ours is longer; uploads have a limit of their own."""
PERSONAL_DATA = (MESSAGES, STATIONS, ALERTS, FLEET, BOOKINGS, CHARGING, MAIL, AUDIT, ACCOUNTS)
"""Who has something about persons, as erased in turn: the accounts, which say what to look for, last.

The messages first: they take long, and what comes in meanwhile is found by those after them.
"""


def create_app(settings: Settings, *, clock: Clock | None = None) -> FastAPI:
    """Build the application. It needs no running server: tests call it as it is."""
    app = DocumentedApp(
        title="Ohmstead",
        version=VERSION,
        description=ABOUT,
        docs_url=None,
        redirect_slashes=False,
        dependencies=[Depends(no_unread_body)],
        redoc_url=None,
        openapi_tags=[{"name": name, "description": text} for name, text in TAGS.items()],
        generate_unique_id_function=operation_id,
        license_info={"name": "MIT", "identifier": "MIT"},
    )
    _build_parts(app.state, settings, clock or SystemClock())
    install_error_handlers(app)
    check_routes(routes())
    for router in ROUTERS:
        app.include_router(router)
    app.add_api_route("/ocpp/{charge_point_id:path}", _no_upgrade, include_in_schema=False)
    longer = (PATH_OF_UPLOADS, settings.upload_max_bytes + FORM_SLACK)
    # From the inside to the outside: each is around those that were added before.
    app.add_middleware(OutsideAnswers, max_body=MAX_BODY, uploads=longer)
    allow_origins(app, settings.cors_origins)
    app.add_middleware(RequestScope, https=settings.public_url.startswith("https://"))
    return app


def _build_parts(state: State, settings: Settings, clock: Clock) -> None:
    """Build what the domains work with, as endpoints, the gateway and jobs find it in `state`."""
    state.settings = settings
    state.clock = clock
    state.live = LiveBus()
    state.live_snapshots = {**SNAPSHOTS, Topic.ALERTS: open_alerts}
    state.links = Links()
    database = Database(
        settings.postgres_url, pool_size=settings.db_pool_size, on_commit=state.live.publish_all
    )
    state.database = database
    state.jobs = create_jobs(settings.postgres_url)
    state.commands = Commands(database, state.links, clock, outcomes_of_commands(settings))
    state.files = Files(settings, database, clock)
    state.kinds = dict(KINDS)
    means = Means(database, state.commands, settings, clock, state.files)
    state.campaigns = Dispatcher(means, state.kinds)
    state.figures = RunningFigures()
    state.issuers = Issuers(settings.outbound_allow, clock)
    state.rate_limits = RateLimits()
    state.personal_data = PersonalData([*PERSONAL_DATA])
    database.session_info.update(
        jobs=state.jobs,
        figures=state.figures,
        clock=clock,
        issuers=state.issuers,
        person_keys=PersonKeys(*settings.signing_keys),
    )


def outcomes_of_commands(settings: Settings) -> Outcomes:
    """Return what each domain makes of the commands that operators and jobs send."""
    outcomes = Outcomes()
    configuration_outcomes.register(outcomes, lambda: settings.signing_key)
    charging_profiles.register(outcomes)
    local_lists_keeping.register(outcomes)
    reservations_outcomes.register(outcomes)
    return outcomes


async def _no_upgrade(request: Request, charge_point_id: str) -> Response:
    """Tell a person with a browser what is spoken here; a proxy may also have made this of a charger."""
    gateway: Gateway | None = getattr(request.app.state, "gateway", None)
    if gateway is not None:
        gateway.door.not_upgraded(unquote(charge_point_id), request.client.host if request.client else None)
    return error_response(
        426,
        "UpgradeRequired",
        "This is the address of a charger. It speaks OCPP over WebSocket: connect with ws:// or wss://.",
        headers={"Upgrade": "websocket"},
    )
