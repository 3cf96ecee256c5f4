"""Starting and stopping what `ohmstead serve` and `ohmstead demo` are made of, in the right order.

What only one command needs is imported when that command runs: `ohmstead --help` then answers in 0.4 s
instead of 2 s.
"""

import asyncio
import gc
import json
import signal
import socket
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from importlib import import_module
from types import FrameType
from typing import Any, TypeVar
from urllib.parse import urlsplit

import psycopg
import uvloop
from rich.table import Table

from ohmstead.core.config import SYSTEM_DATA_DIR, Settings, SettingsError
from ohmstead.core.errors import StartupError
from ohmstead.core.ports import port_fault, refused
from ohmstead.core.postgres import EmbeddedPostgres
from ohmstead.core.postgres_watch import PostgresWatch
from ohmstead.core.tls import own_certificate, server_context
from ohmstead.terminal import err, out, step, working

Result = TypeVar("Result")

EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - the default of a server, which is there to be reached

DEMO_IS_ON = ("mail_log", "ocpp_accept_unknown")


def load(module: str) -> Any:
    """Import a module when its command runs.

    Meanwhile the cyclic collector rests: it would look through all that is loaded again and again, a fifth of
    the time, and what is loaded stays.
    """
    gc.disable()
    try:
        return import_module(module)
    finally:
        gc.enable()


def unwind_on_sigterm() -> None:
    """Let SIGTERM unwind as Ctrl-C does, so that what was started is stopped in order."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run the coroutine to its end in an event loop of its own.

    What the database refuses whatever we do (it only reads, the user has no rights) is a `StartupError`.
    """
    try:
        return uvloop.run(work)
    except (psycopg.Error, load("sqlalchemy.exc").DBAPIError) as error:  # imported when there is one
        raise load("ohmstead.core.migrations").refused(error) or error from None
    finally:
        unwind_on_sigterm()  # the loop has put back the default, which unwinds nothing


@contextmanager
def database(
    settings: Settings, *, up_to_date: bool = True, watched: bool = False, meanwhile: Sequence[str] = ()
) -> Iterator[Settings]:
    """The settings with a database that runs.

    The embedded one is started, its schema brought `up_to_date`, started again when it ends by itself if it
    is `watched`, and stopped at the end unless another process uses it. One that DATABASE_URL names is taken
    as it is. The modules of `meanwhile` are imported while PostgreSQL starts, which leaves a processor idle.
    """
    if not settings.embedded:
        with working("Loading"):
            for module in meanwhile:
                load(module)
        yield settings
        return
    if settings.data_dir.is_relative_to(SYSTEM_DATA_DIR) and "data_dir" not in settings.model_fields_set:
        err.print(f"Data is in {settings.data_dir}: as root, PostgreSQL cannot reach this private folder.")
    server = EmbeddedPostgres(settings.data_dir)
    try:
        with step("Starting PostgreSQL", "PostgreSQL is ready"), _imports(meanwhile):
            ready = settings.with_database(server.start())
        if up_to_date:
            migrate(ready)
        with PostgresWatch(server) if watched else nullcontext():
            yield ready
    finally:
        with working("Stopping PostgreSQL"):
            server.stop()


@contextmanager
def _imports(modules: Sequence[str]) -> Iterator[None]:
    """Import in a thread, done when the block ends: two threads never import at the same time."""

    def work() -> None:
        for module in modules:
            load(module)

    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(work)
        yield
        done.result()


def migrate(settings: Settings) -> None:
    """Bring the schema up to date."""
    migrations = load("ohmstead.core.migrations")
    with step("Migrating", "Schema is up to date") as progress:
        if pending := migrations.pending(settings.postgres_url):
            progress.of(len(pending))
            migrations.upgrade(settings.postgres_url, on_step=progress.advance)


def require_schema(settings: Settings) -> None:
    """Raise `StartupError` when a migration is pending."""
    if pending := load("ohmstead.core.migrations").pending(settings.postgres_url):
        raise StartupError(f"The schema lacks migrations: {', '.join(pending)}.", "Run: ohmstead migrate")


def _require_place(settings: Settings, host: str) -> None:
    """Refuse what the server cannot listen with, before anything is started that had to be stopped again."""
    if settings.tls_cert is not None and settings.tls_key is not None:
        server_context(settings.tls_cert, settings.tls_key)
    for setting, port in (("OHMSTEAD_PORT", settings.port), ("OHMSTEAD_OCPP_PORT", settings.ocpp_port)):
        if port is not None and (fault := port_fault(host, port)) is not None:
            raise refused(host, port, fault, setting=setting)


def serve(settings: Settings) -> None:
    """Run the server until a signal stops it."""
    host = settings.host or EVERYWHERE[0]
    _require_place(settings, host)
    with database(
        settings.with_secret_key(), watched=True, meanwhile=["ohmstead.core.migrations", "ohmstead.server"]
    ) as ready:
        run(load("ohmstead.server").serve(ready, host=host, on_ready=lambda: _announce(ready, host)))


def demo(settings: Settings) -> None:
    """Run database, server and simulated chargers until a signal stops them."""
    if settings.environment == "production":
        raise SettingsError(["ENVIRONMENT: is production; the demo's logins have passwords that all know"])
    host = settings.host or "127.0.0.1"
    _require_place(settings, host)
    settings = as_demo(settings)
    embedded = settings.embedded
    modules = ["ohmstead.core.migrations", "ohmstead.server", "ohmstead.demo", "ohmstead.demo_chargers"]
    with database(settings.with_secret_key(), watched=True, meanwhile=modules) as ready:
        if not embedded:
            migrate(ready)
        run(_demo(ready, host))


def as_demo(settings: Settings) -> Settings:
    """The settings of a demo: what is handy there and rash elsewhere is on, unless it was set."""
    return settings.model_copy(
        update={name: True for name in DEMO_IS_ON if name not in settings.model_fields_set}
    )


async def _demo(settings: Settings, host: str) -> None:
    demo, demo_chargers = load("ohmstead.demo"), load("ohmstead.demo_chargers")
    with step("Making the demo's world", "Businesses, stations and chargers are there") as progress:
        progress.of(demo.STEPS)
        world = await demo.seed(settings, progress.advance)
    if world.changed:
        err.print(f"Not simulated, since they were changed: {', '.join(world.changed)}", style="yellow")
    local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not listened on
    scheme, port, certificate = "ws", settings.port, None
    if settings.ocpp_port is not None:
        port = settings.ocpp_port
    elif settings.tls_cert is not None:
        scheme, certificate = "wss", own_certificate(settings.tls_cert)
    url = f"{scheme}://{f'[{local}]' if ':' in local else local}:{port}/ocpp"
    work = demo_chargers.Work(url, world.chargers, world.id_tags, certificate)
    with demo_chargers.ChargerProcess(work) as chargers:

        def on_ready() -> None:
            chargers.start()
            _welcome(settings, host, world.logins)

        async def before_stop() -> None:
            await asyncio.to_thread(chargers.stop)

        await load("ohmstead.server").serve(settings, host=host, on_ready=on_ready, before_stop=before_stop)


def _welcome(settings: Settings, host: str, logins: list[tuple[str, str, str]]) -> None:
    url = settings.public_url
    out.print(f"\n[bold green]⚡ Ohmstead[/bold green] runs at [bold]{url}[/bold]\n")
    out.print(f"  API       {url}/docs", soft_wrap=True)
    for address in charger_addresses(settings, host):
        out.print(f"  Chargers  {address}/<charger id>", soft_wrap=True)
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for heading in ("Role", "E-mail", "Password"):
        table.add_column(heading)
    for login in logins:
        table.add_row(*login)
    out.print()
    out.print(table)
    if logins:
        body = json.dumps({"username": logins[0][1], "password": logins[0][2]})
        pick = 'sed \'s/.*"accessToken": *"\\([^"]*\\)".*/\\1/\''
        out.print("\n[dim]See sessions move:[/dim]\n")
        curl = "curl -s" if settings.tls_cert is None else "curl -sk"  # its certificate may be its own
        sign_in = f"{curl} {url}/api/auth/login -H 'Content-Type: application/json' -d '{body}'"
        for line in (
            f"TOKEN=$({sign_in} | {pick})",
            f'{curl} {url}/api/admin/transactions -H "Authorization: Bearer $TOKEN"',
        ):
            out.print(line, style="cyan", markup=False, soft_wrap=True)
    out.print("\n[dim]Ctrl-C stops it; the data stays.[/dim]\n")


def _announce(settings: Settings, host: str) -> None:
    err.print(f"[green]✓[/green] Ohmstead is at [bold]{settings.public_url}[/bold], its API at /docs")
    for address in charger_addresses(settings, host):
        err.print(f"  Type into a charger: [bold]{address}/<charger id>[/bold]", soft_wrap=True)


def charger_addresses(settings: Settings, host: str) -> list[str]:
    """The `ws://` addresses for chargers, without their id: by the public name where there is one."""
    public = urlsplit(settings.public_url)
    if public.hostname == "localhost":
        scheme = "wss" if settings.tls_cert else "ws"
        addresses = [f"{scheme}://{_name_of(host)}:{settings.port}/ocpp"]
    else:
        scheme = "wss" if public.scheme == "https" else "ws"
        addresses = [f"{scheme}://{public.netloc}{public.path}/ocpp"]
    if settings.ocpp_port is not None:
        addresses.append(f"ws://{_name_of(host)}:{settings.ocpp_port}/ocpp")
    return addresses


def _name_of(host: str) -> str:
    """How others reach the address; for "every address" the one that this machine has on its network."""
    if host in EVERYWHERE:
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.connect(("192.0.2.1", 9))  # chooses the way out; sends nothing
                return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
    return f"[{host}]" if ":" in host else host
