"""The database's constraints as refusals: two callers at once cannot slip through a check."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from psycopg import errors
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.core.errors import DomainError


@asynccontextmanager
async def refusing(session: AsyncSession, refusals: Mapping[str, DomainError]) -> AsyncIterator[None]:
    """Flush what the block changes; raise the refusal of the constraint that it breaks.

    `refusals` maps names of constraints to errors. A savepoint keeps the transaction usable. A
    constraint that is not named is a fault of ours and raises as it is.
    """
    try:
        async with session.begin_nested():
            yield
            await session.flush()
    except IntegrityError as error:
        broken = error.orig.diag.constraint_name if isinstance(error.orig, errors.IntegrityError) else None
        if broken is not None and broken in refusals:
            raise refusals[broken] from error
        raise
