"""`ohmstead doctor`: looks at everything that an installation stands on, and says how to mend what is wrong.

A check changes nothing, raises nothing and takes a few seconds at most: it is safe beside a running server.
"""

import difflib
import http.client
import json
import os
import shutil
import ssl
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import psycopg
import redis
from cryptography import x509

from ohmstead.core import migrations
from ohmstead.core.config import (
    MIN_SECRET_LENGTH,
    SECRET_KEY_FILE,
    Settings,
    SettingsError,
    kept_secret_key,
    known_env_names,
    names_in_env_file,
    unknown_env_names,
)
from ohmstead.core.errors import StartupError
from ohmstead.core.ports import port_fault
from ohmstead.core.postgres import EmbeddedPostgres
from ohmstead.core.tls import server_context

State = Literal["ok", "warn", "fail"]

OLDEST_POSTGRES = 15
GIBIBYTE = 1024**3
WEAK_PASSWORDS = {
    "admin",
    "password",
    "secret",
    "changeme",
    "ohmstead",
    "letmein",
    "administrator",
    "12345678",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check saw. `remedy` says how to mend it, and is empty when all is well."""

    check: str
    state: State
    message: str
    remedy: str = ""

    def as_dict(self) -> dict[str, str]:
        """The finding as JSON shows it."""
        return asdict(self)


def examine(settings: Settings) -> Iterator[Finding]:
    """Run every check, one after the other; give each finding as soon as it is known."""
    yield from check_settings()
    yield from check_data_folder(settings)
    with _database_url(settings) as database:
        if isinstance(database, Finding):
            yield database
        else:
            yield from check_database(database)
            yield from check_processes(database, shares=settings.redis_url is not None)
    yield check_redis(settings)
    yield check_time_zones()
    yield from check_ports(settings)
    yield from check_secrets(settings)
    yield from check_tls(settings)


def check_settings() -> Iterator[Finding]:
    """Names that nothing reads are most often misspelt, and then a default holds in silence."""
    unknown = unknown_env_names() + unknown_env_names(names_in_env_file())
    if not unknown:
        yield Finding("settings", "ok", "all names are known and all values are valid")
    for name in unknown:
        close = difflib.get_close_matches(name, known_env_names(), n=1)
        remedy = f"Did you mean {close[0]}?" if close else "See .env.example for the names, or unset it."
        yield Finding("settings", "warn", f"{name} is set, but no setting has that name", remedy)


def check_data_folder(settings: Settings) -> Iterator[Finding]:
    """The folder exists or can be made, and its disk has room."""
    place = settings.data_dir
    while not place.exists():
        place = place.parent
    if not os.access(place, os.W_OK | os.X_OK):
        remedy = "Give the user of Ohmstead the right to write there, or set OHMSTEAD_DATA_DIR."
        yield Finding("data folder", "fail", f"{settings.data_dir} cannot be written", remedy)
        return
    total, _, free = shutil.disk_usage(place)
    if total == 0:
        remedy = "Set OHMSTEAD_DATA_DIR to a folder on a disk."
        yield Finding("data folder", "fail", f"{settings.data_dir} is no place for files", remedy)
        return
    message = f"{settings.data_dir} ({free / GIBIBYTE:.1f} GiB free)"
    remedy = "Make room, or set OHMSTEAD_DATA_DIR to a larger disk."
    if free < GIBIBYTE // 2:
        yield Finding("data folder", "fail", f"{message}: PostgreSQL stops when it is full", remedy)
    elif free < 5 * GIBIBYTE:
        yield Finding("data folder", "warn", message, remedy)
    else:
        yield Finding("data folder", "ok", message)


@contextmanager
def _database_url(settings: Settings) -> Iterator[str | Finding]:
    """The URL of the database, the embedded one being started for as long as it is looked at."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    server = EmbeddedPostgres(settings.data_dir)
    if not server.cluster.exists():
        yield Finding("database", "ok", "embedded PostgreSQL, made at the first start")
        return
    try:
        url = server.start()
    except StartupError as error:
        yield Finding("database", "fail", error.message, error.hint)
        return
    try:
        yield url
    finally:
        server.stop()


def check_database(url: str) -> Iterator[Finding]:
    """Reachable, new enough, in UTF-8, its clock like ours, and its schema up to date."""
    try:
        with psycopg.connect(url, connect_timeout=5, autocommit=True) as connection:
            version = connection.info.server_version
            question = "SELECT clock_timestamp(), current_setting('server_encoding')"
            theirs, encoding = connection.execute(question).fetchall()[0]
            ours = datetime.now(UTC)
    except psycopg.Error as error:
        cause = str(error).strip().splitlines()[0]
        remedy = "Check DATABASE_URL, and that PostgreSQL runs and takes connections from this machine."
        yield Finding("database", "fail", f"cannot be reached: {cause}", remedy)
        return
    name = f"PostgreSQL {version // 10000}.{version % 10000}"
    if version // 10000 < OLDEST_POSTGRES:
        remedy = (
            f"Upgrade to PostgreSQL {OLDEST_POSTGRES} or newer, or unset DATABASE_URL for the embedded one."
        )
        yield Finding("database", "fail", f"{name} is too old", remedy)
        return
    if encoding != "UTF8":
        remedy = "Make the database anew with: CREATE DATABASE ohmstead ENCODING 'UTF8' TEMPLATE template0"
        yield Finding("database", "fail", f"{name} stores {encoding}, not every name can be stored", remedy)
    else:
        yield Finding("database", "ok", name)
    yield check_clock((ours - theirs).total_seconds())
    yield check_schema(url)


def check_clock(ahead_seconds: float) -> Finding:
    """Our clock against the database's: tokens and sessions are dated by ours, partitions by both."""
    message = (
        f"{abs(ahead_seconds):.1f} s {'ahead of' if ahead_seconds > 0 else 'behind'} the database's clock"
    )
    if abs(ahead_seconds) < 2:
        return Finding("clock", "ok", "agrees with the database's")
    remedy = "Let both machines set their clocks by NTP (timedatectl set-ntp true)."
    return Finding("clock", "fail" if abs(ahead_seconds) > 60 else "warn", message, remedy)


def check_schema(url: str) -> Finding:
    """No migration is pending."""
    try:
        pending = migrations.pending(url)
    except StartupError as error:
        return Finding("schema", "fail", error.message, error.hint)
    if pending:
        count = f"{len(pending)} migration{'s' if len(pending) > 1 else ''} pending"
        return Finding("schema", "fail", f"{count}: {', '.join(pending)}", "Run: ohmstead migrate")
    return Finding("schema", "ok", "up to date")


def check_redis(settings: Settings) -> Finding:
    """Redis answers, where it is wanted at all."""
    if settings.redis_url is None:
        return Finding("redis", "ok", "not set, and not needed for a single server process")
    try:
        with redis.Redis.from_url(settings.redis_url, socket_timeout=3, socket_connect_timeout=3) as client:
            client.ping()
            client.publish("ohmstead:doctor", "are you there?")
            client.eval("return 1", 0)
    except redis.ResponseError as error:
        remedy = "Let its user run PUBLISH, SUBSCRIBE, EVAL, GET, SET and DEL: processes talk by them."
        return Finding("redis", "fail", f"answers, but refuses what is needed: {error}", remedy)
    except (redis.RedisError, OSError, ValueError, TypeError) as error:  # the last two: a wrong parameter
        remedy = "Check REDIS_URL, and that Redis runs; or unset it for a single server process."
        return Finding("redis", "fail", f"does not answer: {error}", remedy)
    return Finding("redis", "ok", "answers")


def check_processes(url: str, *, shares: bool) -> Iterator[Finding]:
    """Who serves the database now, and whether another one could be started beside it with these settings."""
    question = (
        "SELECT host, pid, shares FROM core_process"
        " WHERE seen_at > clock_timestamp() - lease_seconds * interval '1 second' ORDER BY started_at"
    )
    try:
        with psycopg.connect(url, connect_timeout=5, autocommit=True) as connection:
            alive = connection.execute(question).fetchall()
    except psycopg.Error:
        return  # there is no such table yet, or no database: that has been told
    if not alive:
        yield Finding("processes", "ok", "no server process serves the database at the moment")
        return
    names = ", ".join(f"{pid} on {host}" for host, pid, _ in alive)
    if len(alive) == 1:
        message = f"one server process serves the database: {names}"
    else:
        message = f"{len(alive)} server processes serve the database: {names}"
    if shares != alive[0][2]:
        has = "with" if alive[0][2] else "without"
        remedy = "Give all of them the same REDIS_URL, or run one process only."
        yield Finding("processes", "warn", f"{message}, {has} REDIS_URL; not as here", remedy)
    else:
        yield Finding("processes", "ok", message)


def check_time_zones() -> Finding:
    """Stations have local opening hours, which need the time zone data."""
    try:
        ZoneInfo("Europe/Berlin")
    except ZoneInfoNotFoundError:
        return Finding("time zones", "fail", "no time zone data", "Install the Python package tzdata.")
    return Finding("time zones", "ok", "known")


def check_ports(settings: Settings) -> Iterator[Finding]:
    """Each port is free, or held by Ohmstead itself."""
    ports = {"port": settings.port} | ({"OCPP port": settings.ocpp_port} if settings.ocpp_port else {})
    for name, port in ports.items():
        fault = port_fault(settings.host or "0.0.0.0", port)  # noqa: S104 - what `serve` listens on
        if fault is None:
            yield Finding(name, "ok", f"{port} is free")
        elif answers_as_ohmstead(port, tls=settings.tls_cert is not None):
            yield Finding(name, "ok", f"{port} is held by Ohmstead itself")
        else:
            variable = "OHMSTEAD_PORT" if name == "port" else "OHMSTEAD_OCPP_PORT"
            remedy = f"Stop the program that has it (ss -ltnp | grep :{port}), or set {variable}."
            yield Finding(name, "fail", f"{port} cannot be used: {fault}", remedy)


def answers_as_ohmstead(port: int, *, tls: bool) -> bool:
    """Whether `/health` on this machine's port is that of Ohmstead."""
    connection: http.client.HTTPConnection
    if tls:
        context = ssl.create_default_context()
        context.check_hostname = False  # the certificate names the public host; nothing secret is sent
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection("localhost", port, timeout=3, context=context)
    else:
        connection = http.client.HTTPConnection("localhost", port, timeout=3)
    try:
        connection.request("GET", "/health")
        answer = json.loads(connection.getresponse().read(4096))
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()
    return isinstance(answer, dict) and answer.get("service") == "driver-dashboard"


def check_secrets(settings: Settings) -> Iterator[Finding]:
    """Secrets are hard to guess and readable by their owner alone."""
    production = settings.environment == "production"
    grave: State = "fail" if production else "warn"
    yield check_secret_key(settings, grave)

    if settings.admin_password is not None:
        password = settings.admin_password.get_secret_value()
        if password.lower() in WEAK_PASSWORDS or len(password) < 12:
            remedy = "Choose 12 characters or more, and change it for the user that exists already."
            yield Finding("admin password", grave, "OHMSTEAD_ADMIN_PASSWORD is easy to guess", remedy)
        else:
            yield Finding("admin password", "ok", "set, and long enough")
    if production and settings.metrics_token is None:
        remedy = "Set OHMSTEAD_METRICS_TOKEN, and give it to Prometheus."
        yield Finding("metrics token", "warn", "is not set", remedy)
    if (dotenv := Path(".env")).is_file():
        yield _private_file(".env", dotenv)


def check_secret_key(settings: Settings, grave: State) -> Finding:
    """The key with which we sign is there or can be made, readable by its owner alone, and hard to guess."""
    kept = settings.data_dir / SECRET_KEY_FILE
    remedy = "Set OHMSTEAD_SECRET_KEY to the output of: openssl rand -base64 48"
    if settings.secret_key is not None:
        key, place = settings.secret_key.get_secret_value(), "is set"
    elif not kept.exists():
        return Finding("secret key", "ok", "made and kept in the data folder at the first start")
    else:
        try:
            key, place = kept_secret_key(settings.data_dir), f"is kept in {kept}"
        except SettingsError as error:
            return Finding("secret key", "fail", "; ".join(error.faults), remedy)
        private = _private_file("secret key", kept)
        if private.state != "ok":
            return private
    if len(key) < MIN_SECRET_LENGTH or len(set(key)) < 10:
        return Finding("secret key", grave, f"{place}, but easy to guess: tokens could be forged", remedy)
    return Finding("secret key", "ok", f"{place}, and long enough")


def _private_file(check: str, path: Path) -> Finding:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        return Finding(
            check, "warn", f"{path} can be read by others (mode {mode:o})", f"Run: chmod 600 {path}"
        )
    return Finding(check, "ok", f"{path} is readable by its owner alone")


def check_tls(settings: Settings) -> Iterator[Finding]:
    """The certificate and the key are readable, belong together, and the certificate is in force."""
    if settings.tls_cert is None or settings.tls_key is None:
        return
    try:
        server_context(settings.tls_cert, settings.tls_key)
        certificate = x509.load_pem_x509_certificates(settings.tls_cert.read_bytes())[0]
    except StartupError as error:
        yield Finding("TLS", "fail", error.message, error.hint)
        return
    except ValueError as error:
        remedy = "Make the certificate anew, or ask who issued it."
        yield Finding("TLS", "fail", f"the certificate is odd: {error}", remedy)
        return
    yield check_expiry(certificate.not_valid_before_utc, certificate.not_valid_after_utc, datetime.now(UTC))
    yield _private_file("TLS key", settings.tls_key)


def check_expiry(start: datetime, end: datetime, now: datetime) -> Finding:
    """A certificate outside its time cuts off every charger; one near its end soon will."""
    days = (end - now).days
    if now < start:
        return Finding(
            "TLS", "fail", f"the certificate is valid from {start:%Y-%m-%d} on", "Check the clock."
        )
    if now >= end:
        return Finding("TLS", "fail", f"the certificate expired on {end:%Y-%m-%d}", "Renew it now.")
    if days < 30:
        return Finding("TLS", "warn", f"the certificate expires in {days} days", "Renew it.")
    return Finding("TLS", "ok", f"the certificate is valid until {end:%Y-%m-%d}")
