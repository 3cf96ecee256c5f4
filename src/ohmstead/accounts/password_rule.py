"""Which passwords people may choose: long enough, and not easily guessed (zxcvbn, score 3 of 4).

A password that somebody else chose for once (a temporary one) is hashed by `passwords.hash_password` as it
is.
"""

import re
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession
from zxcvbn import zxcvbn  # type: ignore[import-untyped] # the package carries no types

from ohmstead.accounts.drivers_queries import nic_of
from ohmstead.accounts.models import User
from ohmstead.accounts.passwords import HashingThread, hash_password
from ohmstead.core.errors import Invalid

AT_LEAST = 8
SCORE_AT_LEAST = 3
"""More than 10^8 guesses: safe from guessing over the network, and hard with the slow hash."""
LOOKED_AT = 32
"""Characters of a password: the estimate takes long for long ones, and what follows only makes it better."""
WORDS_AT_MOST = 20

_estimating = HashingThread(limit=16)


async def told_of(session: AsyncSession, user: User) -> tuple[str | None, ...]:
    """Return what is known of a user that its password may not be made of: e-mail, name, NIC."""
    return user.email, user.name, await nic_of(session, user.id)


async def hash_new_password(password: str, *about: str | None, field: str = "password") -> str:
    """Check a password that somebody chose, and return its hash.

    `about` is what is known of its owner (e-mail, name, NIC): a password made of that is weak; `field` is the
    input that held it. Raises `Invalid` for a weak one, with what to do, and `Unavailable` when too many are
    waiting.
    """
    if len(password) < AT_LEAST:
        raise _refused(f"needs at least {AT_LEAST} characters", field)
    texts = [text for text in about if text]
    words = [word for text in texts for word in re.split(r"\W+", text.partition("@")[0]) if len(word) > 2]
    known = [*texts, *words][:WORDS_AT_MOST]
    fault = await _estimating.run(lambda: _fault(password[:LOOKED_AT], known))
    if fault is not None:
        raise _refused(fault, field)
    return await hash_password(password)


def _fault(password: str, known: list[str]) -> str | None:
    """Return why a password is easily guessed, or None. Some milliseconds, at worst a quarter of a second."""
    found: dict[str, Any] = zxcvbn(password, user_inputs=known)
    if found["score"] >= SCORE_AT_LEAST:
        return None
    advice = found["feedback"]
    said = [advice["warning"], *advice["suggestions"]]
    return " ".join(["is easily guessed.", *(one.rstrip(".") + "." for one in said if one)])


def _refused(fault: str, field: str) -> Invalid:
    return Invalid(f"The password {fault}", code="WeakPassword", fields={field: fault})
