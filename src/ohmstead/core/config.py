"""Settings: read from the environment and `.env`, checked once, then never changed.

Every name is `OHMSTEAD_<FIELD>`, save the five that hosting platforms set by custom: `DATABASE_URL`,
`REDIS_URL`, `ENVIRONMENT`, `PORT` and `SUPABASE_JWT_SECRET`. A fault is reported with the name that a person
typed, never with a traceback.
"""

import hashlib
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, DotEnvSettingsSource, NoDecode, SettingsConfigDict

from ohmstead.core.addresses import is_host, is_url, postgres_url, redis_url

ENV_PREFIX = "OHMSTEAD_"
SYSTEM_DATA_DIR = Path("/var/lib/ohmstead")
SECRET_KEY_FILE = "secret.key"  # noqa: S105 - the name of a file, no secret
MIN_SECRET_LENGTH = 32
SHOWN_AT_MOST = 60
ROLES = ("SystemAdmin", "Backoffice", "Operator", "EvOwner")

_UNPREFIXED = {
    "database_url": "DATABASE_URL",
    "redis_url": "REDIS_URL",
    "environment": "ENVIRONMENT",
    "supabase_jwt_secret": "SUPABASE_JWT_SECRET",
}
_SECRET_FIELDS = {
    "database_url",
    "redis_url",
    "secret_key",
    "secret_key_previous",
    "admin_password",
    "metrics_token",
    "smtp_url",
    "supabase_jwt_secret",
}
_S3_URL = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._/-]*)?")
_ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_EMAIL = re.compile(r"^[^@\s]+@[^@\s]+$")

Port = Annotated[int, Field(ge=1, le=65535)]
Days = Annotated[int, Field(ge=1, le=36_500)]
RateLimit = Annotated[int, Field(ge=0, le=1_000_000)]
Seconds = Annotated[float, Field(allow_inf_nan=False)]
Network = IPv4Network | IPv6Network


class SettingsError(Exception):
    """Settings that cannot be used. `faults`: one readable line each, beginning with the name to change."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


def world_reachable(path: Path) -> bool:
    """Whether any OS user may pass through every folder above `path`.

    PostgreSQL refuses to run as root, so under root it runs as another user, who must reach its files.
    The folder `path` itself is not looked at: it is ours and gets the right mode when it is made.
    """
    for folder in path.absolute().parents:
        try:
            if not folder.stat().st_mode & stat.S_IXOTH:
                return False
        except FileNotFoundError:
            continue
    return True


def default_data_dir() -> Path:
    """`.ohmstead` in the working folder, so that two checkouts never share a database.

    As root in a private folder (such as /root) it is one of its own under /var/lib/ohmstead:
    see `world_reachable`.
    """
    local = Path.cwd() / ".ohmstead"
    if os.geteuid() != 0 or world_reachable(local):
        return local
    digest = hashlib.sha256(str(local.parent).encode()).hexdigest()[:8]
    return SYSTEM_DATA_DIR / f"{local.parent.name or 'root'}-{digest}"


def _default_public_url(data: Mapping[str, Any]) -> str:
    scheme = "https" if data.get("tls_cert") else "http"
    return f"{scheme}://localhost:{data.get('port', 8000)}"


class Settings(BaseSettings):
    """All settings. Use `Settings.load()`, which reports faults as `SettingsError`.

    `database_url` stays None until the embedded PostgreSQL has started; `host` is None when nothing was
    asked for (the demo then listens on localhost, the server on every address).
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    environment: Literal["development", "production", "test"] = Field(
        "development", validation_alias=AliasChoices("ENVIRONMENT")
    )
    database_url: str | None = Field(None, validation_alias=AliasChoices("DATABASE_URL"), repr=False)
    redis_url: str | None = Field(None, validation_alias=AliasChoices("REDIS_URL"), repr=False)
    data_dir: Path = Field(default_factory=default_data_dir)
    secret_key: SecretStr | None = None
    secret_key_previous: SecretStr | None = None
    admin_email: str | None = None
    admin_password: SecretStr | None = None

    host: str | None = None
    port: Port = Field(8000, validation_alias=AliasChoices("OHMSTEAD_PORT", "PORT"))
    tls_cert: Path | None = None
    tls_key: Path | None = None
    public_url: str = Field(default_factory=_default_public_url)
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = ()
    shutdown_grace_seconds: Seconds = Field(10.0, ge=0, le=600)

    log_format: Literal["auto", "json", "console"] = "auto"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    metrics_token: SecretStr | None = None
    smtp_url: SecretStr | None = None
    mail_from: str = "ohmstead@localhost"
    mail_name: str = Field("Ohmstead", min_length=1, max_length=80)
    mail_log: bool = False
    jwt_minutes: int = Field(120, ge=1, le=60 * 24 * 30)
    sign_in_idle_days: Days = 14
    sign_in_days: Days = 90
    second_factor_roles: Annotated[tuple[str, ...], NoDecode] = ()
    nic_pattern: str = Field(r"[0-9]{9}[VX]|[0-9]{12}", min_length=1, max_length=200)
    require_verified_email: bool = False
    card_approval: Literal["none", "backoffice"] = "none"
    rate_limit_sign_in: RateLimit = 120
    rate_limit_registration: RateLimit = 20
    rate_limit_booking: RateLimit = 30
    rate_limit_command: RateLimit = 300
    rate_limit_invitation: RateLimit = 100
    rate_limit_personal_data: RateLimit = 20
    rate_limit_exempt: Annotated[tuple[Network, ...], NoDecode] = ()
    db_pool_size: int = Field(10, ge=1, le=200)

    outbound_allow: Annotated[tuple[Network, ...], NoDecode] = ()
    supabase_jwt_secret: SecretStr | None = Field(None, validation_alias=AliasChoices("SUPABASE_JWT_SECRET"))
    third_party_jwks_url: str | None = None
    third_party_issuer: str | None = Field(None, min_length=1, max_length=500)
    third_party_audience: str = Field("authenticated", min_length=1, max_length=255)
    third_party_new_users: bool = False

    ocpp_port: Port | None = None
    ocpp_accept_unknown: bool = False
    ocpp_unknown_per_address: int = Field(20, ge=0, le=100_000)
    ocpp_ping_interval: Seconds = Field(30.0, gt=0, le=3600)
    ocpp_heartbeat_interval: int = Field(300, ge=1, le=86400)
    ocpp_call_timeout: Seconds = Field(30.0, gt=0, le=600)
    ocpp_max_frame_bytes: int = Field(262_144, ge=1024, le=16 * 1024 * 1024)
    ocpp_refusals_per_minute: int = Field(20, ge=0, le=1_000_000)

    files_url: str | None = None
    upload_max_bytes: int = Field(268_435_456, ge=1024, le=2**40)
    file_link_hours: int = Field(72, ge=1, le=24 * 366)

    message_log_days: Days = 30
    meter_value_days: Days = 730
    connection_log_days: Days = 90
    history_days: Days = 365
    charger_file_days: Days = 90
    refusal_log_rows: int = Field(10_000, ge=0, le=10_000_000)
    stale_session_minutes: int = Field(15, ge=1, le=525_600)

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Read and check the settings; `overrides` (None = not given) win over the environment.

        Raises `SettingsError` with one line for each fault. Touches no file but `.env`.
        """
        given = {name: value for name, value in overrides.items() if value is not None}
        try:
            return cls(**given)
        except ValidationError as error:
            # A default that is made from faulty fields is not made; that is no fault of its own.
            faults = [fault for fault in error.errors() if fault["type"] != "default_factory_not_called"]
            raise SettingsError(line for fault in faults for line in _describe(fault).splitlines()) from None
        except UnicodeDecodeError:
            raise SettingsError([".env: is no UTF-8 text; save it as UTF-8"]) from None
        except OSError as error:
            cause = (error.strerror or str(error)).lower()
            raise SettingsError(
                [f"{error.filename}: cannot be read: {cause}"]
                if error.filename
                else [f"OHMSTEAD_DATA_DIR: is not set, and the working folder cannot be used: {cause}"]
            ) from None

    @property
    def embedded(self) -> bool:
        """Whether no database was named, so that one is started inside `data_dir`."""
        return self.database_url is None

    @property
    def postgres_url(self) -> str:
        """The libpq URL of the database. Raises `SettingsError` before the embedded one has started."""
        if self.database_url is None:
            raise SettingsError(["DATABASE_URL: is not set and the embedded PostgreSQL has not started"])
        return self.database_url

    @property
    def signing_key(self) -> str:
        """The secret that signs tokens. Raises `SettingsError` where there is none: see `with_secret_key`."""
        if self.secret_key is None:
            raise SettingsError(["OHMSTEAD_SECRET_KEY: is not set"])
        return self.secret_key.get_secret_value()

    @property
    def signing_keys(self) -> tuple[str, ...]:
        """The secrets that are live: the one that signs, then the one before it, which is still believed."""
        previous = self.secret_key_previous
        old = None if previous is None else previous.get_secret_value()
        return (self.signing_key,) if old in (None, self.signing_key) else (self.signing_key, str(old))

    def with_database(self, url: str) -> Self:
        """The same settings with the URL of the database that was just started."""
        return self.model_copy(update={"database_url": url})

    def with_secret_key(self) -> Self:
        """The same settings with a secret key: the given one, else that of `data_dir`, made when missing."""
        if self.secret_key is not None:
            return self
        return self.model_copy(update={"secret_key": SecretStr(kept_secret_key(self.data_dir))})

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @field_validator("environment", "log_format", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("database_url")
    @classmethod
    def _normalise_database_url(cls, value: str | None) -> str | None:
        return None if value is None else postgres_url(value)

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, value: str | None) -> str | None:
        return None if value is None else redis_url(value)

    @field_validator("host")
    @classmethod
    def _check_host(cls, value: str | None) -> str | None:
        if value is not None and not is_host(value):
            raise ValueError("must be an address or a name of this machine, such as 127.0.0.1 or 0.0.0.0")
        return value

    @field_validator("metrics_token")
    @classmethod
    def _check_token(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(r"[!-~]+", value.get_secret_value()):
            raise ValueError("must be letters, digits and signs without blanks: it is sent in a header")
        return value

    @field_validator("smtp_url")
    @classmethod
    def _check_smtp_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            try:
                parts = urlsplit(value.get_secret_value())
                valid = parts.scheme in ("smtp", "smtps") and bool(parts.hostname) and parts.port != 0
            except ValueError:
                valid = False
            if not valid:
                raise ValueError("must be a mail server such as smtp://user:password@mail.example.com:587")
        return value

    @field_validator("admin_email", "mail_from")
    @classmethod
    def _check_email(cls, value: str | None) -> str | None:
        if value is not None and not _EMAIL.match(value):
            raise ValueError("must be an e-mail address")
        return value

    @field_validator("files_url")
    @classmethod
    def _check_files_url(cls, value: str | None) -> str | None:
        if value is not None and not _S3_URL.fullmatch(value):
            raise ValueError("must be a bucket and a folder in it, such as s3://bucket/ohmstead")
        return value

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, value: str) -> str:
        parts = urlsplit(value) if is_url(value) else None
        if (
            parts is None
            or parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.query
            or parts.fragment
        ):
            raise ValueError("must be an address such as https://charge.example.com")
        return value.rstrip("/")

    @field_validator("trusted_proxies", "rate_limit_exempt", "outbound_allow", mode="before")
    @classmethod
    def _parse_networks(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        networks: list[Network] = []
        for item in filter(None, (part.strip() for part in value.split(","))):
            try:
                networks.append(ip_network(item, strict=False))
            except ValueError:
                shown = item if len(item) <= SHOWN_AT_MOST else f"{item[:SHOWN_AT_MOST]}..."
                raise ValueError(f"{shown!r} is no IP address or network such as 10.0.0.0/8") from None
        return tuple(networks)

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _parse_origins(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        origins = tuple(filter(None, (part.strip().lower() for part in value.split(","))))
        for origin in origins:
            if not _ORIGIN.fullmatch(origin):
                shown = origin if len(origin) <= SHOWN_AT_MOST else f"{origin[:SHOWN_AT_MOST]}..."
                raise ValueError(f"{shown!r} is no origin such as https://portal.example.com, without a path")
        return origins

    @field_validator("supabase_jwt_secret")
    @classmethod
    def _check_supabase_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < MIN_SECRET_LENGTH:
            raise ValueError(f"must have {MIN_SECRET_LENGTH} characters or more: copy it from the project")
        return value

    @field_validator("third_party_jwks_url")
    @classmethod
    def _check_jwks_url(cls, value: str | None) -> str | None:
        if value is not None and (not is_url(value) or urlsplit(value).scheme not in ("http", "https")):
            raise ValueError("must be an address such as https://id.example.com/.well-known/jwks.json")
        return value

    @field_validator("nic_pattern")
    @classmethod
    def _check_pattern(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"must be a regular expression: {error}") from None
        return value

    @field_validator("second_factor_roles", mode="before")
    @classmethod
    def _parse_roles(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        names = tuple(filter(None, (part.strip() for part in value.split(","))))
        for name in names:
            if name not in ROLES:
                raise ValueError(f"{name[:SHOWN_AT_MOST]!r} is no role: write {', '.join(ROLES)}")
        return names

    @field_validator("data_dir", mode="after")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        try:
            return value.expanduser().absolute()
        except RuntimeError:
            raise ValueError("must be a folder; there is no user of that name") from None

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        faults = []
        if (self.tls_cert is None) != (self.tls_key is None):
            missing, given = ("KEY", "CERT") if self.tls_key is None else ("CERT", "KEY")
            faults.append(f"OHMSTEAD_TLS_{missing}: is needed too, since OHMSTEAD_TLS_{given} is set")
        if (self.admin_email is None) != (self.admin_password is None):
            missing, given = ("PASSWORD", "EMAIL") if self.admin_password is None else ("EMAIL", "PASSWORD")
            faults.append(f"OHMSTEAD_ADMIN_{missing}: is needed too, since OHMSTEAD_ADMIN_{given} is set")
        if self.ocpp_port is not None and self.ocpp_port == self.port:
            faults.append("OHMSTEAD_OCPP_PORT: must differ from OHMSTEAD_PORT, which serves chargers anyway")
        if self.third_party_jwks_url is not None and self.third_party_issuer is None:
            faults.append(
                "OHMSTEAD_THIRD_PARTY_ISSUER: is needed too, since OHMSTEAD_THIRD_PARTY_JWKS_URL is set"
            )
        if self.environment == "production":
            faults += self._production_faults()
        if faults:
            raise ValueError("\n".join(faults))
        return self

    def _production_faults(self) -> list[str]:
        faults = []
        if self.database_url is None:
            faults.append("DATABASE_URL: is required when ENVIRONMENT=production")
        if self.secret_key is None:
            faults.append(
                "OHMSTEAD_SECRET_KEY: is required when ENVIRONMENT=production; "
                "make one with: openssl rand -base64 48"
            )
        elif len(self.secret_key.get_secret_value()) < MIN_SECRET_LENGTH:
            faults.append(
                f"OHMSTEAD_SECRET_KEY: must have {MIN_SECRET_LENGTH} characters or more in production"
            )
        return faults


def env_name(field: str) -> str:
    """The environment variable of a settings field."""
    return _UNPREFIXED.get(field, ENV_PREFIX + field.upper())


def known_env_names() -> set[str]:
    """Every environment variable that Ohmstead reads."""
    return {env_name(field) for field in Settings.model_fields} | {"PORT"}


def names_in_env_file() -> list[str]:
    """The names that the `.env` of the working folder sets, in capitals."""
    return [name.upper() for name in DotEnvSettingsSource(Settings).env_vars]


def unknown_env_names(given: Iterable[str] | None = None) -> list[str]:
    """`OHMSTEAD_*` names, `given` or of the environment, that nothing reads: most often slips of the pen."""
    names = os.environ if given is None else given
    known = known_env_names()
    return sorted(name for name in names if name.upper().startswith(ENV_PREFIX) and name.upper() not in known)


def kept_secret_key(data_dir: Path) -> str:
    """The secret key in `data_dir`, made at the first call; two first calls at once get the same key.

    The file is readable by its owner alone. It is written whole beside its place and then linked there, which
    fails where another process was quicker. Raises `SettingsError` when the folder cannot be used.
    """
    place = data_dir / SECRET_KEY_FILE
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            _place_once(place, secrets.token_urlsafe(48) + "\n")
        key = place.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        fault = f"OHMSTEAD_SECRET_KEY: is not set and {place} holds no text; delete it for a new one"
        raise SettingsError([fault]) from None
    except OSError as error:
        fault = f"OHMSTEAD_DATA_DIR: cannot keep the secret key in {place}: {error.strerror}"
        raise SettingsError([fault]) from None
    if not key:
        raise SettingsError(
            [f"OHMSTEAD_SECRET_KEY: is not set and {place} is empty; delete it for a new one"]
        )
    return key


def _place_once(place: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=place.parent, prefix=f"{place.name}.")  # with mode 600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(name, place)
    except FileExistsError:
        pass  # another process made the key between our look and our link: its key is the one
    finally:
        Path(name).unlink()


def _describe(fault: ErrorDetails) -> str:
    """One fault of pydantic in words: `NAME: what is wrong (is 'value')`; values of secrets are not shown."""
    context = fault.get("ctx", {})
    if not fault["loc"]:  # from _check_together, which names the settings itself
        return str(context.get("error", fault["msg"]))
    asked = str(fault["loc"][0])
    field = asked.lower().removeprefix(ENV_PREFIX.lower())
    name = env_name(field)
    match fault["type"]:
        case "int_parsing" | "int_type" | "int_from_float" | "int_parsing_size":
            what = "must be a whole number"
        case "float_parsing" | "float_type" | "finite_number":
            what = "must be a number"
        case "greater_than_equal":
            what = f"must be at least {context['ge']}"
        case "greater_than":
            what = f"must be more than {context['gt']}"
        case "less_than_equal":
            what = f"must be at most {context['le']}"
        case "literal_error":
            what = f"must be {context['expected']}"
        case "value_error":
            what = str(context["error"])
        case _:
            what = fault["msg"]
    given = str(fault["input"])
    if len(given) > SHOWN_AT_MOST:
        given = f"{given[:SHOWN_AT_MOST]}..."
    shown = "" if field in _SECRET_FIELDS or fault["input"] is None else f" (is {given!r})"
    return f"{name}: {what}{shown}"
