"""Addresses that people type: told as wrong in words where libraries would raise whatever they do."""

import re
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

_POSTGRES = re.compile(r"^(postgres|postgresql)(\+(psycopg|asyncpg))?://")
_REDIS = re.compile(r"^(rediss?|unix)://")


def is_host(text: str) -> bool:
    """Whether this can be a host: the resolver itself raises what is no `OSError` for some texts."""
    try:
        text.encode("idna")
    except UnicodeError:
        return False
    return re.fullmatch(r"[^\s/?#@]+", text) is not None


def is_url(text: str) -> bool:
    """Whether a URL has a host and a port that there can be; both may be missing."""
    try:
        parts = urlsplit(text)
        return parts.port != 0 and (parts.hostname is None or is_host(parts.hostname))
    except ValueError:
        return False


def postgres_url(text: str) -> str:
    """Return the address of a database as libpq takes it. A `ValueError` never shows its password."""
    wanted = "must be a PostgreSQL address such as postgresql://user:password@host:5432/ohmstead"
    if not _POSTGRES.match(text):
        raise ValueError(wanted)
    url = _POSTGRES.sub("postgresql://", text)
    if "," in url.partition("://")[2].partition("/")[0].rpartition("@")[2]:
        raise ValueError(f"{wanted}, with one host")
    if not is_url(url):
        raise ValueError(
            f"{wanted}: look at host and port, and write @ : / ? # [ ] % of a password as %40 ..."
        )
    try:
        conninfo_to_dict(url)
    except psycopg.Error as error:  # its words may hold a part of the password
        unknown = re.search(r'invalid URI query parameter: "(\w+)"', str(error))
        raise ValueError(f"{wanted}: {unknown[1]} is no parameter" if unknown else wanted) from None
    return url


def redis_url(text: str) -> str:
    """Return the address of Redis as it is. Raises `ValueError` in words without the password."""
    if not (_REDIS.match(text) and is_url(text)):
        raise ValueError("must be a Redis address such as redis://localhost:6379/0")
    return text
