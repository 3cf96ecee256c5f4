"""`/api/auth/verify-email`: that an address is its owner's is shown by the link that was mailed there."""

from fastapi import APIRouter, Request

from ohmstead.accounts import drivers as service
from ohmstead.accounts.drivers_schemas import Address, VerificationWish, VerifyEmail
from ohmstead.accounts.emails import normalise_email
from ohmstead.accounts.limits import Subject, limited
from ohmstead.core.http import Now, UnitOfWork
from ohmstead.core.openapi import refuses

router = APIRouter(prefix="/api/auth/verify-email", tags=["Auth"])


@router.post(
    "",
    response_model=Address,
    dependencies=[limited(Subject.SIGN_IN)],
    responses={
        **refuses(410, "The link was used, has expired, or is not valid any more."),
        **refuses(429, "Asked for too often from this address; see `Retry-After`."),
    },
)
async def verify_email(body: VerifyEmail, request: Request, session: UnitOfWork, now: Now) -> Address:
    """Verify an address by what stands at the end of the mailed link, which is used up by that."""
    user = await service.verify_email(session, request.app.state.settings, body.token, now)
    return Address(email=user.email)


@router.post(
    "/resend",
    status_code=202,
    response_model=Address,
    responses=refuses(429, "Asked for too often from this address; see `Retry-After`."),
    dependencies=[limited(Subject.REGISTRATION)],
)
async def resend_verification(
    body: VerificationWish, request: Request, session: UnitOfWork, now: Now
) -> Address:
    """Mail a new link, once a minute at most. The answer is the same whether the address has an account."""
    email = normalise_email(body.email)
    await service.send_verification_again(session, request.app.state.settings, email, now)
    return Address(email=email)
