"""Another secret key for the server: what is encrypted with the old one is encrypted anew with the new one.

Authenticator apps, secrets of our clients at identity providers, and the keys of persons. What is hashed or
signed cannot be made anew without whoever holds it: an API key is when it is used (see `api_keys_access`),
the rest needs the old key for as long as it is in use.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import select, update
from sqlalchemy.orm import InstrumentedAttribute

from ohmstead.accounts import oidc_providers, second_factor
from ohmstead.accounts.audit_models import PersonKey
from ohmstead.accounts.oidc_models import IdentityProvider
from ohmstead.accounts.person_keys import SecretKeyMissing, sealed_anew, wrapping_key
from ohmstead.accounts.sign_in_models import SecondFactor
from ohmstead.core.config import Settings
from ohmstead.core.db import Database

CHUNK = 500

logger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sealed:
    """A column that is encrypted: the id of its row, the key for a secret of the server, what binds it."""

    row_id: InstrumentedAttribute[UUID]
    column: InstrumentedAttribute[Any]
    key: Callable[[str], bytes]
    context: Callable[[UUID], bytes]


SEALED = (
    Sealed(PersonKey.person_id, PersonKey.wrapped, wrapping_key, lambda row_id: row_id.bytes),
    Sealed(SecondFactor.user_id, SecondFactor.secret, second_factor.sealing_key, lambda row_id: row_id.bytes),
    Sealed(
        IdentityProvider.id,
        IdentityProvider.secret,
        oidc_providers.sealing_key,
        oidc_providers.context_of,
    ),
)


async def seal_anew(database: Database, settings: Settings) -> int:
    """Encrypt with the present key what the previous one still opens; returns how much that was.

    To do it twice is to do it once. A row that somebody else changes meanwhile is left to the next time; of
    those that neither key opens the log tells how many.
    """
    if len(settings.signing_keys) == 1:
        return 0
    return sum([await _seal_anew(database, settings, one) for one in SEALED])


async def _seal_anew(database: Database, settings: Settings, one: Sealed) -> int:
    keys = [one.key(key) for key in settings.signing_keys]
    done = lost = 0
    query = select(one.row_id, one.column).where(one.column.is_not(None))
    while True:
        async with database.session() as session:
            rows = (await session.execute(query.order_by(one.row_id).limit(CHUNK))).all()
            for row_id, sealed in rows:
                try:
                    new = sealed_anew(keys, sealed, one.context(row_id))
                except ValueError:
                    lost += 1
                    continue
                if new is not None:
                    unchanged = update(one.row_id.class_).where(one.row_id == row_id, one.column == sealed)
                    await session.execute(unchanged.values({one.column: new}))
                    done += 1
        if not rows:
            break
        query = query.where(one.row_id > rows[-1][0])
    if lost:
        table = one.row_id.class_.__tablename__
        logger.error("secret_key.missing", table=table, rows=lost, hint=SecretKeyMissing.HINT)
    return done
