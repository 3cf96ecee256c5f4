"""Addresses that chargers get files from and bring files to, where these are not ours."""

from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from ohmstead.core.text import Text
from ohmstead.ocpp.masking import mask_url

SCHEMES: Final = ("http", "https", "ftp", "ftps", "sftp")
LONGEST: Final = 512
"""The most that the security whitepaper gives a location."""


def _checked(location: str) -> str:
    """Refuse what no charger could use. Whether it is there only the charger can tell."""
    if not location.isascii() or not location.isprintable() or " " in location:
        raise ValueError("must be printable ASCII without spaces: encode other characters with %")
    try:
        parts = urlsplit(location)
        valid = parts.scheme in SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise ValueError(f"must be an address that begins with one of {', '.join(SCHEMES)} and names a host")
    return location


Location = Annotated[Text, Field(max_length=LONGEST), AfterValidator(_checked)]
"""An address outside, with its user and password where it needs them; chargers know FTP best."""


def shown_location(location: str) -> str:
    """Return an address without its password, to be kept and shown."""
    return mask_url(location)[:LONGEST]
