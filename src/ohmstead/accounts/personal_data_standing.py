"""Whether somebody has been erased, or is about to be: what is over stays over."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.models import User
from ohmstead.accounts.personal_data_models import PersonalDataRequest, RequestKind, RequestState
from ohmstead.core.errors import Conflict


async def require_not_erased(session: AsyncSession, user: User) -> None:
    """Raise `Conflict` for a user whose erasure is done, or has begun; one that failed for good is none."""
    query = select(PersonalDataRequest.state).where(
        PersonalDataRequest.user_id == user.id,
        PersonalDataRequest.kind == RequestKind.ERASURE,
        PersonalDataRequest.state != RequestState.FAILED,
    )
    state = await session.scalar(query.limit(1))
    if state is not None:
        done = "has been erased" if state == RequestState.DONE else "is being erased"
        raise Conflict(
            f"This user {done}, and its account is over. The person registers anew.", code="UserErased"
        )
