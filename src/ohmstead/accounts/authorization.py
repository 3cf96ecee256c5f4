"""May this id tag charge here? One pure rule, and the one query that feeds it (OCPP 1.6 4.1, 7.2)."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import and_, case, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from ohmstead.accounts.models import Token, TokenStatus, User, UserStatus

STATUS = case((User.status == UserStatus.DEACTIVATED, TokenStatus.BLOCKED), else_=Token.status)
"""The status of a token in a query that joins its driver (outer): those of a deactivated one are blocked."""


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """What the rule needs to know of a token."""

    status: TokenStatus
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class TokenDecision:
    """What a charger is told of an id tag; `token_id` is None when nobody knows the tag.

    Whether the tag is already charging elsewhere (ConcurrentTx) is not known here: whoever counts
    sessions decides that with `max_concurrent_sessions` (None = no limit).
    """

    status: TokenStatus
    token_id: UUID | None = None
    expires_at: datetime | None = None
    parent_id_tag: str | None = None
    max_concurrent_sessions: int | None = None


def decide(token: TokenFacts | None, parent: TokenFacts | None, now: datetime) -> TokenStatus:
    """Return the status of a token at a moment.

    Unknown is Invalid. A status that an operator set stands. From `expires_at` on it is Expired. A
    parent that may not charge (whatever the reason) blocks its children; a parent that is only a
    name of a group, without a token of its own (None), does not. Parents are one level: a circle of
    parents is no circle here.
    """
    if token is None:
        return TokenStatus.INVALID
    own = _alone(token, now)
    if own is TokenStatus.ACCEPTED and parent is not None and _alone(parent, now) is not own:
        return TokenStatus.BLOCKED
    return own


def _alone(token: TokenFacts, now: datetime) -> TokenStatus:
    if token.status is not TokenStatus.ACCEPTED:
        return token.status
    expired = token.expires_at is not None and token.expires_at <= now
    return TokenStatus.EXPIRED if expired else TokenStatus.ACCEPTED


async def authorize_token(
    session: AsyncSession, *, id_tag: str, backoffice_id: UUID | None, now: datetime
) -> TokenDecision:
    """Decide on an id tag at a charger of a business (None: a charger that belongs to none).

    The tag is matched without regard to case. The business's own token comes before one that works
    everywhere; another business's is Invalid. The parent is looked up in the same way, from the
    token's own business. One query.
    """
    if "\x00" in id_tag:  # nothing in the database has it, and PostgreSQL would refuse to look
        return TokenDecision(TokenStatus.INVALID)
    parent = aliased(Token)
    query = (
        select(
            Token.id,
            STATUS.label("status"),
            Token.expires_at,
            Token.parent_id_tag,
            Token.max_concurrent_sessions,
            parent.id.label("parent_id"),
            parent.status.label("parent_status"),
            parent.expires_at.label("parent_expires_at"),
        )
        .outerjoin(User, User.id == Token.driver_id)
        .outerjoin(
            parent,
            and_(
                func.lower(parent.id_tag) == func.lower(Token.parent_id_tag),
                or_(parent.backoffice_id == Token.backoffice_id, parent.backoffice_id.is_(None)),
            ),
        )
        .where(
            func.lower(Token.id_tag) == func.lower(id_tag),
            or_(Token.backoffice_id == backoffice_id, Token.backoffice_id.is_(None)),
        )
        .order_by(Token.backoffice_id.is_(None), parent.backoffice_id.is_(None))
        .limit(1)
    )
    row = (await session.execute(query)).one_or_none()
    if row is None:
        return TokenDecision(TokenStatus.INVALID)
    token = TokenFacts(TokenStatus(row.status), row.expires_at)
    above = None
    if row.parent_id is not None:
        above = TokenFacts(TokenStatus(row.parent_status), row.parent_expires_at)
    return TokenDecision(
        status=decide(token, above, now),
        token_id=row.id,
        expires_at=row.expires_at,
        parent_id_tag=row.parent_id_tag,
        max_concurrent_sessions=row.max_concurrent_sessions,
    )
