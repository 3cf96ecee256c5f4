"""Asking for exports and erasures, and how far they are. What they do is in `personal_data_jobs`."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.audit import record
from ohmstead.accounts.constraints import refusing
from ohmstead.accounts.models import Role, User, UserStatus
from ohmstead.accounts.personal_data import Contribution, PersonalData, find_person
from ohmstead.accounts.personal_data_models import PersonalDataRequest, RequestKind, RequestState
from ohmstead.accounts.personal_data_standing import require_not_erased
from ohmstead.core.errors import Conflict, Invalid, NotFound
from ohmstead.core.files import drop
from ohmstead.core.jobs import defer

WORK = "personal_data:work"
KEPT = timedelta(days=7)
"""So long an archive can be fetched."""


async def ask(
    session: AsyncSession,
    parts: PersonalData,
    user: User,
    kind: RequestKind,
    *,
    confirm: str | None,
    asked_by: UUID,
    now: datetime,
) -> PersonalDataRequest:
    """Write a request down, and let the job begin. An erasure is confirmed by the user's e-mail address.

    Who is to be erased can do nothing more from now on, and nothing is given out of it. The row of `user` is
    locked. Raises `Invalid`, and `Conflict` for users who are no drivers, for what stands in the way, while
    another request of the kind is open, and for an export of who is erased.
    """
    if kind is RequestKind.ERASURE:
        await _prepare_erasure(session, parts, user, confirm)
    else:
        await require_not_erased(session, user)
    row = PersonalDataRequest(
        id=uuid4(), user_id=user.id, kind=kind, state=RequestState.QUEUED, asked_by=asked_by, created_at=now
    )
    open_already = Conflict(
        "There is a request of this kind already, which is not done yet.", code="RequestOpen"
    )
    async with refusing(session, {"uq_accounts_personal_data_open": open_already}):
        session.add(row)
    await record(
        session,
        f"personal_data.{kind.lower()}_asked",
        entity="user",
        entity_id=user.id,
        after={"request_id": row.id},
        person_id=user.id,
        backoffice_id=user.backoffice_id,
    )
    await defer(session, WORK, request_id=str(row.id))
    return row


async def _prepare_erasure(
    session: AsyncSession, parts: PersonalData, user: User, confirm: str | None
) -> None:
    if user.role != Role.EV_OWNER:
        raise Conflict("Only drivers are erased. Who works here is deactivated instead.", code="NotADriver")
    if (confirm or "").strip().lower() != user.email.lower():
        raise Invalid(
            "An erasure cannot be undone: repeat the e-mail address of the user in `confirm`.",
            fields={"confirm": "is not the e-mail address of this user"},
        )
    reason = await obstacle(session, parts.contributions, user.id)
    if reason is not None:
        raise Conflict(reason, code="ErasureBlocked")
    user.status = UserStatus.DEACTIVATED  # which stops its cards, too


async def obstacle(session: AsyncSession, parts: Sequence[Contribution], user_id: UUID) -> str | None:
    """Return why a person cannot be erased at this moment, in words; None when nothing stands in the way."""
    person = await find_person(session, user_id)
    for one in parts:
        if one.obstacle is not None and (reason := await one.obstacle(session, person)) is not None:
            return reason
    return None


async def find_request(
    session: AsyncSession, request_id: UUID, *, user_id: UUID | None = None, locked: bool = False
) -> PersonalDataRequest:
    """Return a request, of one user if that is given. Raises `NotFound`."""
    query = select(PersonalDataRequest).where(PersonalDataRequest.id == request_id)
    if user_id is not None:
        query = query.where(PersonalDataRequest.user_id == user_id)
    if locked:
        query = query.with_for_update().execution_options(populate_existing=True)
    row = (await session.execute(query)).scalar_one_or_none()
    if row is None:
        raise NotFound("There is no such request.")
    return row


async def drop_archives(session: AsyncSession, now: datetime, *, user_id: UUID | None = None) -> int:
    """Let the archives go that have expired, or all of one user; returns how many."""
    query = select(PersonalDataRequest).where(PersonalDataRequest.file_id.is_not(None))
    if user_id is None:
        query = query.where(PersonalDataRequest.expires_at <= now)
    else:
        query = query.where(PersonalDataRequest.user_id == user_id)
    rows = (await session.scalars(query.with_for_update())).all()
    for row in rows:
        if row.file_id is not None:
            await drop(session, row.file_id, now)
        row.state, row.file_id, row.link_id = RequestState.EXPIRED, None, None
    await session.flush()
    return len(rows)
