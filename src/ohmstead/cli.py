"""The command `ohmstead`. Exit codes: 0 done, 1 failed, 2 wrong usage or settings."""

import glob
import os
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit
from uuid import UUID

import typer

from ohmstead import launch
from ohmstead.core.config import Settings
from ohmstead.core.errors import StartupError
from ohmstead.terminal import (
    FAILED,
    INTERRUPTED,
    USAGE,
    out,
    readable_faults,
    say_fault,
    say_hint,
    step,
    working,
)

LONGEST_NAME = 200
"""Characters in the name of a business."""
STATE_MARKS = {"ok": "[green]✓[/green]", "warn": "[yellow]![/yellow]", "fail": "[red]✗[/red]"}

Host = Annotated[str | None, typer.Option(help="Address to listen on.", show_default=False)]
Port = Annotated[int | None, typer.Option(help="Port to listen on (8000 unless set).", show_default=False)]

app = typer.Typer(
    help="An open charging-network platform: OCPP central system, stations, sessions, live API.",
    epilog="Settings come from the environment and .env: see .env.example.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    add_completion=False,
)
user_app = typer.Typer(help="Manage users.", no_args_is_help=True, rich_markup_mode="rich")
app.add_typer(user_app, name="user")
audit_app = typer.Typer(help="Look after the audit trail.", no_args_is_help=True, rich_markup_mode="rich")
app.add_typer(audit_app, name="audit")


def main() -> None:
    """Run the command line."""
    launch.unwind_on_sigterm()
    try:
        app(prog_name="ohmstead")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _examples(*lines: str) -> str:
    """The end of a command's help; typer joins lines that have no blank one between them."""
    return "\n\n".join(["[bold]Examples[/bold]", *(f"[cyan]{line}[/cyan]" for line in lines)])


@app.callback(invoke_without_command=True)
def _options(
    show_version: Annotated[bool, typer.Option("--version", help="Show the version and end.")] = False,
) -> None:
    if show_version:
        out.print(f"ohmstead {version('ohmstead')}")
        raise typer.Exit


@app.command(
    epilog=_examples("ohmstead serve", "DATABASE_URL=postgresql://me:secret@db/ohmstead ohmstead serve")
)
def serve(host: Host = None, port: Port = None) -> None:
    """Run the server until Ctrl-C or SIGTERM.

    Without DATABASE_URL a PostgreSQL of its own starts, and its schema is kept up to date. With DATABASE_URL
    the schema must be up to date: run `ohmstead migrate` first.
    """
    with readable_faults():
        launch.serve(Settings.load(host=host, port=port))


@app.command(epilog=_examples("ohmstead demo", "ohmstead demo --port 9000"))
def demo(host: Host = None, port: Port = None) -> None:
    """Bring up a living charging network: a database, the server and simulated chargers.

    Ctrl-C stops all of it; the next start goes on with the same data.
    """
    with readable_faults():
        launch.demo(Settings.load(host=host, port=port))


@app.command(epilog=_examples("ohmstead migrate", "ohmstead migrate --check"))
def migrate(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit 1 when a step is missing.")
    ] = False,
) -> None:
    """Bring the schema of the database up to date."""
    with readable_faults(), launch.database(Settings.load(), up_to_date=False) as settings:
        migrations = launch.load("ohmstead.core.migrations")
        with working("Looking at the schema"):
            pending = migrations.pending(settings.postgres_url)
        for name in pending:
            out.print(f"  {name}", markup=False)
        if not pending:
            out.print("The schema is up to date.")
        elif check:
            raise StartupError(f"{len(pending)} to do.", "Run: ohmstead migrate")
        else:
            launch.migrate(settings)


@app.command(
    epilog=_examples(
        "ohmstead simulate --chargers 50",
        "ohmstead simulate --url ws://csms.example:9000/ocpp --scenario scenarios/plug_first.yaml --speed 10",
        "ohmstead simulate --chargers 50 --scenario scenarios/*.yaml --duration 600 --password secret",
    )
)
def simulate(
    *,
    more: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SCENARIO]...", help="Further scenario files: a pattern may go unquoted."),
    ] = None,
    url: Annotated[
        str, typer.Option(help="The central system, without the charger's id.")
    ] = "ws://localhost:8000/ocpp",
    chargers: Annotated[int, typer.Option(min=1, max=50_000, help="How many chargers.")] = 1,
    scenario: Annotated[
        list[str] | None, typer.Option(help="A scenario file or pattern; may be repeated.")
    ] = None,
    password: Annotated[str | None, typer.Option(help="Password of every charger (Basic auth).")] = None,
    speed: Annotated[
        float, typer.Option(min=0.01, max=10_000, help="How many times faster than real time.")
    ] = 1.0,
    duration: Annotated[
        float | None, typer.Option(min=0, max=366 * 86_400, help="Stop after so many seconds.")
    ] = None,
    id_prefix: Annotated[str, typer.Option(help="Ids are this and a number.")] = "SIM",
    tag: Annotated[
        list[str] | None, typer.Option(help="An id tag that drivers show; may be repeated.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Makes a run repeatable.")] = None,
) -> None:
    """Run simulated chargers (OCPP 1.6J) against any central system until they are done or Ctrl-C.

    Without a scenario cars come and go. Exit code 1 when a step went wrong or a connection was refused.
    """
    with readable_faults():
        if not _is_websocket(url):
            raise typer.BadParameter(
                f"{url!r} is no address such as ws://localhost:8000/ocpp", param_hint="--url"
            )
        module = launch.load("ohmstead.simulate")
        plan = module.Plan(
            url=url.rstrip("/"),
            chargers=chargers,
            scenarios=[path for pattern in [*(scenario or []), *(more or [])] for path in _matching(pattern)],
            password=password,
            speed=speed,
            duration=duration,
            id_prefix=id_prefix,
            id_tags=tag or ["DEMO0001"],
            seed=seed,
        )
        try:
            stats = launch.run(module.simulate(plan))
        except module.ScenarioError as error:
            say_fault(str(error))
            raise typer.Exit(USAGE) from None
    out.print(module.summary(stats))
    if stats.errors:
        say_fault(f"{stats.errors} steps went wrong, the last: {stats.last_error}")
        raise typer.Exit(FAILED)


def _is_websocket(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # half an IPv6 address, a port that is no number
        return False


def _matching(pattern: str) -> list[Path]:
    """The files that a pattern names: the shell leaves it to us when it is quoted."""
    found = [Path(name) for name in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207 - may be absolute
    if not found:
        raise typer.BadParameter(f"no file matches {pattern!r}", param_hint="--scenario")
    return found


@user_app.command(
    "create",
    epilog=_examples(
        "ohmstead user create --email ada@example.com --role SystemAdmin",
        "ohmstead user create --email office@example.com --role Backoffice --business VoltCo",
        "ohmstead user create --email op@example.com --role Operator --backoffice ID --station ID",
        "pass ada | ohmstead user create --email ada@example.com --role SystemAdmin --password-stdin",
    ),
)
def create_user(  # noqa: PLR0917 # typer reads the options of a command from its parameters
    email: Annotated[str, typer.Option(help="The name to sign in with.")],
    role: Annotated[str, typer.Option(help="SystemAdmin, Backoffice, Operator or EvOwner.")],
    backoffice: Annotated[UUID | None, typer.Option(help="The business: its id.")] = None,
    business: Annotated[
        str | None, typer.Option(help="The business: its name; made when there is none of that name.")
    ] = None,
    station: Annotated[
        list[UUID] | None, typer.Option(help="A station of an operator; may be repeated.")
    ] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from a pipe.")
    ] = False,
) -> None:
    """Make a user; the password is asked for, so that it is in no history of commands."""
    models = launch.load("ohmstead.accounts.models")
    wanted = {known.lower(): known for known in models.Role}.get(role.lower())
    if wanted is None:
        raise typer.BadParameter(f"{role!r} is none of {', '.join(models.Role)}", param_hint="--role")
    if backoffice is not None and business is not None:
        raise typer.BadParameter("name the business by its id or by its name", param_hint="--business")
    if business is not None and not 1 <= len(business.strip()) <= LONGEST_NAME:
        raise typer.BadParameter(f"a name has 1 to {LONGEST_NAME} characters", param_hint="--business")
    password = _piped_password() if password_stdin else _typed_password()
    person = {"email": email, "password": password, "role": wanted}
    person |= {"backoffice_id": backoffice, "station_ids": tuple(station or ())}
    with readable_faults(), launch.database(Settings.load()) as settings:
        launch.require_schema(settings)
        launch.run(_create_user(settings, person, business))
        out.print(f"{wanted} {email} can sign in.", markup=False)


def _piped_password() -> str:
    """The first line of standard input."""
    try:
        password = sys.stdin.buffer.readline().decode().rstrip("\r\n") if sys.stdin is not None else ""
    except UnicodeDecodeError:
        raise typer.BadParameter("the password is no UTF-8 text", param_hint="--password-stdin") from None
    if not password:
        raise typer.BadParameter("the password is empty", param_hint="--password-stdin")
    return password


def _typed_password() -> str:
    """What a person types twice; a terminal is needed for that."""
    try:
        Path("/dev/tty").open("rb").close()
    except OSError:
        raise typer.BadParameter(
            "there is no terminal to ask for the password: pipe it in", param_hint="--password-stdin"
        ) from None
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))


async def _create_user(settings: Settings, person: dict[str, Any], business: str | None) -> None:
    businesses = launch.load("ohmstead.accounts.businesses")
    clock = launch.load("ohmstead.core.clock").SystemClock()
    service = launch.load("ohmstead.accounts.service")
    database = launch.load("ohmstead.core.db").Database(settings.postgres_url)
    try:
        async with database.session() as session:
            if business is not None:
                found = await businesses.find_business(session, business)
                made = found or (await businesses.make_business(session, business, "UTC", clock.now())).id
                person["backoffice_id"] = made
            user = await service.create_user(session, **person)
            by = launch.load("ohmstead.core.acting").Acting(kind="system", id="ohmstead user create")
            await launch.load("ohmstead.accounts.audit").record(
                session,
                "user.created",
                entity="user",
                entity_id=user.id,
                after={"role": user.role, "status": user.status},
                backoffice_id=user.backoffice_id,
                by=by,
            )
    finally:
        await database.close()


@audit_app.command("verify", epilog=_examples("ohmstead audit verify", "ohmstead audit verify --json"))
def verify_audit(
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
) -> None:
    """Check that nobody changed or removed what the audit trail says. Exit code 1 when somebody did.

    Keep the last digest somewhere else: with it, also a trail that was cut off at its end is noticed.
    """
    with readable_faults(), launch.database(Settings.load()) as settings:
        launch.require_schema(settings)
        with working("Checking"):
            verdict = launch.run(_verify_audit(settings))
    if as_json:
        out.print_json(data={name: getattr(verdict, name) for name in verdict.__slots__})
    else:
        out.print(
            f"{verdict.entries} entries under {verdict.seals} seals; {verdict.unsealed} not sealed yet."
        )
        out.print(f"last digest {verdict.head}", markup=False, soft_wrap=True)
        for fault in verdict.faults:
            say_fault(f"{fault[:1].upper()}{fault[1:]}.")
        if not verdict.faults:
            out.print("The chain holds: nothing was changed or removed.")
    if verdict.faults:
        raise typer.Exit(FAILED)


async def _verify_audit(settings: Settings) -> Any:
    seals = launch.load("ohmstead.accounts.audit_seals")
    database = launch.load("ohmstead.core.db").Database(settings.postgres_url)
    try:
        async with database.session() as session:
            return await seals.verify(session)
    finally:
        await database.close()


@app.command(epilog=_examples("ohmstead backup", "ohmstead backup /var/backups/ohmstead-monday.tar"))
def backup(
    file: Annotated[
        Path | None, typer.Argument(help="Where to write it; a name with the time when left out.")
    ] = None,
) -> None:
    """Write the installation into one file: database, files, secret key. A server may go on meanwhile."""
    target = file or Path(f"ohmstead-{datetime.now(UTC):%Y%m%d-%H%M%S}.tar")
    with readable_faults(), launch.database(Settings.load(), up_to_date=False) as settings:
        keeping = launch.load("ohmstead.backup")
        with step("Backing up", "The backup is written") as progress:
            kept = keeping.back_up(settings, target.absolute(), advance=progress.at)
        out.print(f"{kept.file}: {kept.rows} rows, {kept.files} files, {kept.size} bytes", soft_wrap=True)
        if not kept.with_secret_key:
            say_hint("The secret key comes from OHMSTEAD_SECRET_KEY and is not in it: keep that as well.")


@app.command(epilog=_examples("OHMSTEAD_DATA_DIR=/srv/ohmstead ohmstead restore ohmstead-monday.tar"))
def restore(file: Annotated[Path, typer.Argument(help="A file of `ohmstead backup`.")]) -> None:
    """Bring a backup back into an empty database. Whatever is there already is never touched."""
    with readable_faults(), launch.database(Settings.load(), up_to_date=False) as settings:
        keeping = launch.load("ohmstead.backup")
        with step("Restoring", "Everything is back") as progress:
            kept = keeping.restore(settings, file.absolute(), advance=progress.at)
        out.print(f"{kept.rows} rows and {kept.files} files are back.")
        if not kept.with_secret_key:
            say_hint("Set OHMSTEAD_SECRET_KEY to that of the installation: passwords of chargers need it.")


@app.command(epilog=_examples("ohmstead doctor", "ohmstead doctor --json"))
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check database, schema, Redis, clock, ports, secrets and TLS, and say how to mend each.

    Exit code 1 when a check fails; warnings alone do not.
    """
    with readable_faults():
        settings = Settings.load()
        findings: list[Any] = []
        looking = launch.load("ohmstead.doctor").examine(settings)
        while True:
            with working("Looking"):
                finding = next(looking, None)
            if finding is None:
                break
            findings.append(finding)
            if not as_json:
                out.print(f"{STATE_MARKS[finding.state]} [bold]{finding.check}[/bold]", end=" ")
                out.print(finding.message, markup=False, soft_wrap=True)
                if finding.remedy:
                    out.print(f"    {finding.remedy}", style="yellow", markup=False, soft_wrap=True)
    if as_json:
        out.print_json(data=[finding.as_dict() for finding in findings])
    if any(finding.state == "fail" for finding in findings):
        raise typer.Exit(FAILED)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog=_examples("ohmstead bench", "ohmstead bench --full --markdown"),
)
def bench(context: typer.Context) -> None:
    """Measure the server beside a bare one; options are handed on (ohmstead bench -- --help shows them)."""
    root = Path(__file__).parents[2]
    if not (root / "bench" / "__main__.py").is_file():
        say_fault("The benchmark is not in the installed package.")
        say_hint("Run it in a source tree of Ohmstead: make bench")
        raise typer.Exit(USAGE)
    os.chdir(root)
    command = [sys.executable, "-m", "bench", *context.args]
    os.execv(sys.executable, command)  # noqa: S606 - this process becomes the benchmark


if __name__ == "__main__":
    main()
