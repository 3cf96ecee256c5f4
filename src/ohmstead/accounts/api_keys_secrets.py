"""What an API key looks like: `ohm_`, 36 random letters and digits, and a checksum of six.

Whoever finds one in a log or in a repository can tell what it is, and that it is whole, without asking.
"""

import re
import secrets
import string
import zlib
from typing import Final

PREFIX: Final = "ohm_"
SHOWN: Final = 12
"""So many of its first letters are kept, to tell keys apart."""

_ALPHABET: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_FORM: Final = re.compile(r"ohm_([0-9A-Za-z]{36})([0-9A-Za-z]{6})")


def new_key() -> str:
    """Return a new key, of 214 random bits."""
    body = "".join(secrets.choice(_ALPHABET) for _ in range(36))
    return f"{PREFIX}{body}{_checksum(body)}"


def is_whole(key: str) -> bool:
    """Whether a text is a key as we make them; one that was cut or mistyped is not."""
    found = _FORM.fullmatch(key)
    return found is not None and _checksum(found[1]) == found[2]


def _checksum(body: str) -> str:
    """Return the CRC-32 of the random part, in six digits of base 62."""
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
