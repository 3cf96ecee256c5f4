"""Addresses that people type: told as wrong in words where libraries would raise whatever they do.

And those that clients have, each in one spelling.
"""

import re
from ipaddress import IPv6Address, ip_address
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


def plain_address(text: str) -> str:
    """Return an address of IPv4 as such where it is written within IPv6 (`::ffff:192.0.2.1`, RFC 4291 2.5.5).

    A socket for both kinds, here or at a proxy, writes it so: to limits all of IPv4 would be one network, and
    no setting that names networks would hold. Any other text stays.
    """
    if ":" not in text:
        return text
    try:
        known = ip_address(text)
    except ValueError:
        return text
    within = known.ipv4_mapped if isinstance(known, IPv6Address) else None
    return text if within is None else str(within)


def forwarded_address(text: str) -> str:
    """Return the address in an entry of `X-Forwarded-For`: some proxies write a port behind it."""
    told = text.strip()
    if told.startswith("["):
        told = told[1:].partition("]")[0]
    elif told.count(":") == 1:
        told = told.partition(":")[0]
    return plain_address(told)
