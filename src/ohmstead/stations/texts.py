"""Kinds of text that the schemas of stations and chargers share: what PostgreSQL and OCPP can carry."""

import re
from functools import cache
from importlib import resources
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from ohmstead.core.text import Text

CHARGER_ID_MAX = 48
_CHARGER_ID = re.compile(r"[\x21-\x7e]+")
_NO_SPACES = re.compile(r"[\x21-\x7e]+")


def unset(**constraints: Any) -> Any:
    """Return the field of an update that may be left out, but not be null.

    The default is a factory, so that the OpenAPI schema shows no `null`; whether a field was given is
    told by `model_fields_set`, never by its value.
    """
    return Field(default_factory=lambda: None, **constraints)


def charger_id_fault(value: str) -> str | None:
    """Tell why a text cannot be the identity of a charger, or None when it can.

    The identity is the last part of the charger's URL (OCPP-J 1.6 3.1.1): characters that end or
    change a path are refused. A slash within is allowed, chargers send it as `%2F`.
    """
    if not 1 <= len(value) <= CHARGER_ID_MAX:
        return f"must have 1 to {CHARGER_ID_MAX} characters"
    if not _CHARGER_ID.fullmatch(value):
        return "must be printable ASCII without spaces"
    if any(character in value for character in "%?#"):
        return "must not contain %, ? or #: they have a meaning of their own in the charger's URL"
    if value.startswith("/") or value.endswith("/") or value in {".", ".."}:
        return "must not begin or end with a slash, nor be . or ..: they get lost in the charger's URL"
    return None


def _charger_id(value: str) -> str:
    fault = charger_id_fault(value)
    if fault is not None:
        raise ValueError(fault)
    return value


ChargerIdText = Annotated[str, AfterValidator(_charger_id)]


def _password(value: str) -> str:
    if not _NO_SPACES.fullmatch(value):
        raise ValueError("must be printable ASCII without spaces: chargers send it by Basic auth")
    return value


Password = Annotated[
    str, StringConstraints(strip_whitespace=False, min_length=8, max_length=128), AfterValidator(_password)
]
"""A charger's password. The whitepaper asks for 16 to 40 characters; what chargers came with is taken too."""


@cache
def country_codes() -> frozenset[str]:
    """Return the 249 codes of ISO 3166-1 alpha-2, as the time zone data ship them."""
    lines = resources.files("tzdata").joinpath("zoneinfo", "iso3166.tab").read_text("utf-8").splitlines()
    return frozenset(line[:2] for line in lines if line and not line.startswith("#"))


def _country(value: str) -> str:
    code = value.upper()
    if code not in country_codes():
        hint = " (the United Kingdom is GB)" if code == "UK" else ""
        raise ValueError(f"must be a country code of two letters (ISO 3166), such as PT{hint}")
    return code


Country = Annotated[str, StringConstraints(max_length=20), AfterValidator(_country)]


def _web_address(value: str) -> str:
    try:
        parts = urlsplit(value)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        valid = False
    if not valid or re.search(r"[\x00-\x20\x7f]", value):
        raise ValueError("must be a web address such as https://example.com/photo.jpg")
    return value


WebAddress = Annotated[str, StringConstraints(max_length=2000), AfterValidator(_web_address)]


def _once_each(value: Any) -> Any:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return list(dict.fromkeys(item.strip() for item in value))
    return value


Amenities = Annotated[
    list[Annotated[Text, StringConstraints(min_length=1, max_length=60)]],
    BeforeValidator(_once_each),
    Field(max_length=50, description="What the place offers, such as `Toilets`; repeated entries are one."),
]
