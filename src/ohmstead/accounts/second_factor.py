"""The second factor: codes of an authenticator app (TOTP, RFC 6238), and recovery codes.

A code is good in its 30 seconds and in those before and after, and once. Five wrong ones in a row lock the
app for a while, each further one for twice as long, whatever address they come from: six digits are soon
guessed by who knows the password. The user is told by mail. Recovery codes are long, so they work meanwhile.
"""

import base64
import hashlib
import hmac
import math
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import pyotp
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.audit import record
from ohmstead.accounts.lockout import TooManyAttempts
from ohmstead.accounts.models import User
from ohmstead.accounts.passwords import derive_key, secret_hash
from ohmstead.accounts.person_keys import seal, unsealed_by_any
from ohmstead.accounts.refresh_tokens import RefreshBy
from ohmstead.accounts.sign_in_models import RecoveryCode, SecondFactor
from ohmstead.core.config import Settings
from ohmstead.core.errors import Conflict, DomainError, Kind, Unauthenticated
from ohmstead.mail.service import send_mail

STEP = 30
"""Seconds of one code."""
FAILURES_AT_MOST = 5
LOCKED = timedelta(minutes=15)
LOCKED_AT_MOST = timedelta(hours=24)
RECOVERY_CODES = 10
CHALLENGE = timedelta(minutes=5)
ALGORITHM = "HS256"
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
"""Without those that look like others."""


class WrongCode(DomainError):
    """A code that is wrong, or was used before. No 401: who is signed in stays so."""

    code = "WrongCode"

    def __init__(self) -> None:
        super().__init__(
            "The code is wrong, or was used already. Wait for the next one, or use a recovery code."
        )


class SecondFactorLost(DomainError):
    """The secret of the app was encrypted with a key that this server has no more."""

    kind = Kind.CONFLICT
    code = "SecondFactorLost"

    def __init__(self) -> None:
        super().__init__(
            "Codes of your authenticator app cannot be checked any more. Ask an administrator to reset your"
            " second factor."
        )


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What an authenticator app needs to know: the secret in base32, and an `otpauth:` address of it."""

    secret: str
    uri: str


async def in_use(session: AsyncSession, user_id: UUID) -> SecondFactor | None:
    """Return the second factor of a user, if it has been confirmed; locked."""
    factor = await session.get(SecondFactor, user_id, with_for_update=True)
    return factor if factor is not None and factor.confirmed_at is not None else None


async def recovery_codes_left(session: AsyncSession, user_id: UUID) -> int:
    """Return how many recovery codes a user has not used."""
    query = select(func.count()).select_from(RecoveryCode).where(RecoveryCode.user_id == user_id)
    return (await session.execute(query)).scalar_one()


# --- setting it up


async def enrol(session: AsyncSession, settings: Settings, user: User) -> Enrolment:
    """Make a secret for a user's app. It counts when a code has confirmed it; before, a new one replaces it.

    Raises `Conflict` when the user has a second factor in use.
    """
    factor = await session.get(SecondFactor, user.id, with_for_update=True)
    if factor is not None and factor.confirmed_at is not None:
        raise Conflict(
            "You have a second factor already. Disable it first, to set up another one.",
            code="SecondFactorExists",
        )
    secret = pyotp.random_base32()
    sealed = seal(sealing_key(settings.signing_key), secret.encode(), user.id.bytes)
    if factor is None:
        session.add(SecondFactor(user_id=user.id, secret=sealed))
    else:
        factor.secret = sealed
    uri = pyotp.TOTP(secret).provisioning_uri(name=user.email, issuer_name=settings.mail_name)
    return Enrolment(secret, uri)


async def confirm(
    session: AsyncSession, settings: Settings, user: User, code: str, now: datetime
) -> list[str] | WrongCode:
    """Put the second factor in use with a first code; returns the recovery codes, which are shown once.

    A wrong code is returned, not raised: that it was tried stays written. Raises `Conflict` when there is
    nothing to confirm.
    """
    factor = await session.get(SecondFactor, user.id, with_for_update=True)
    if factor is None or factor.confirmed_at is not None:
        raise Conflict(
            "There is nothing to confirm. Set a second factor up first: POST /api/auth/second-factor.",
            code="NothingToConfirm",
        )
    if not await _right(session, settings, user, factor, code=code, now=now):
        return WrongCode()
    factor.confirmed_at = now
    await _record(session, "user.second_factor_enabled", user)
    return await new_recovery_codes(session, settings, user)


async def new_recovery_codes(session: AsyncSession, settings: Settings, user: User) -> list[str]:
    """Give a user ten new recovery codes; the old ones are void."""
    await session.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user.id))
    codes = ["".join(secrets.choice(_LETTERS) for _ in range(12)) for _ in range(RECOVERY_CODES)]
    key = settings.signing_key
    session.add_all(RecoveryCode(user_id=user.id, code_hash=_recovery_hash(one, key)) for one in codes)
    await _record(session, "user.recovery_codes_made", user)
    return ["-".join((one[:4], one[4:8], one[8:])) for one in codes]


async def reset_second_factor(session: AsyncSession, user: User, *, reason: str | None = None) -> bool:
    """Take the second factor of a user away, with its recovery codes; False when there was none."""
    found = await session.execute(
        delete(SecondFactor).where(SecondFactor.user_id == user.id).returning(SecondFactor.user_id)
    )
    await session.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user.id))
    if found.first() is None:
        return False
    await _record(session, "user.second_factor_removed", user, reason=reason)
    return True


# --- showing it


async def check(
    session: AsyncSession, settings: Settings, user: User, factor: SecondFactor, *, code: str, now: datetime
) -> WrongCode | None:
    """Check a code of the app, or use up a recovery code.

    A wrong one is returned, not raised: the caller commits that it was tried, then raises it. Raises
    `TooManyAttempts` while the app is locked.
    """
    plain = "".join(sign for sign in code.lower() if sign.isalnum())
    if len(plain) == 12:
        hashes = [_recovery_hash(plain, key) for key in settings.signing_keys]
        used = await session.execute(
            delete(RecoveryCode)
            .where(RecoveryCode.user_id == user.id, RecoveryCode.code_hash.in_(hashes))
            .returning(RecoveryCode.user_id)
        )
        if used.first() is not None:
            await _record(session, "user.recovery_code_used", user)
            return None
    return None if await _right(session, settings, user, factor, code=code, now=now) else WrongCode()


async def _right(
    session: AsyncSession, settings: Settings, user: User, factor: SecondFactor, *, code: str, now: datetime
) -> bool:
    if factor.locked_until is not None and now < factor.locked_until:
        raise TooManyAttempts(math.ceil((factor.locked_until - now).total_seconds()))
    step = _matching_step(_secret(settings, factor), "".join(code.split()), now, after=factor.last_step)
    if step is not None:
        factor.last_step, factor.failures, factor.locked_until = step, 0, None
        return True
    factor.failures += 1
    over = factor.failures - FAILURES_AT_MOST
    if over >= 0:
        factor.locked_until = now + min(LOCKED * 2 ** min(over, 16), LOCKED_AT_MOST)
        await _record(session, "user.second_factor_locked", user)
        if over == 0:
            await send_mail(
                session,
                settings,
                to=user.email,
                template="second_factor_locked",
                name=user.name or "",
                email=user.email,
                url=f"{settings.public_url}/sign-in",
            )
    return False


def _matching_step(secret: str, code: str, now: datetime, *, after: int) -> int | None:
    """Return the time step of a code: this one, that before or that after, later than `after`; else None."""
    if not (code.isascii() and code.isdigit() and len(code) == 6):
        return None
    totp = pyotp.TOTP(secret)
    current = int(now.timestamp()) // STEP
    steps = [step for step in (current, current - 1, current + 1) if step > after]
    right = [step for step in steps if hmac.compare_digest(totp.generate_otp(step), code)]
    return right[0] if right else None


def _secret(settings: Settings, factor: SecondFactor) -> str:
    keys = (sealing_key(key) for key in settings.signing_keys)
    try:
        return unsealed_by_any(keys, factor.secret, factor.user_id.bytes).decode()
    except ValueError as error:
        raise SecondFactorLost from error


def sealing_key(key: str) -> bytes:
    """Return the key that encrypts the secrets of authenticator apps, made from a secret of the server."""
    return derive_key(key, "second-factor")


def _recovery_hash(code: str, key: str) -> str:
    return secret_hash(f"recovery-code:{code}", key)


async def _record(session: AsyncSession, action: str, user: User, reason: str | None = None) -> None:
    await record(
        session,
        action,
        entity="user",
        entity_id=user.id,
        person_id=user.id,
        backoffice_id=user.backoffice_id,
        reason=reason,
    )


# --- between the password and the code


class SecondFactorRequired(DomainError):
    """The password is right, and a code is asked for; `detail` is the challenge to be sent with it."""

    kind = Kind.UNAUTHENTICATED
    code = "SecondFactorRequired"


@dataclass(frozen=True, slots=True)
class Challenge:
    """Who has shown the right password, and how it wants its refresh token, if at all."""

    user_id: UUID
    refresh_by: RefreshBy | None
    proof: str


def challenged(
    settings: Settings, user: User, refresh_by: RefreshBy | None, now: datetime
) -> SecondFactorRequired:
    """Return the refusal that asks for a code."""
    moment = int(now.timestamp())
    claims = {
        "sub": str(user.id),
        "refresh_by": refresh_by,
        "proof": proof_of(settings.signing_key, user),
        "exp": moment + int(CHALLENGE.total_seconds()),
    }
    key = OctKey.import_key(_challenge_key(settings.signing_key))
    challenge = jwt.encode({"alg": ALGORITHM}, claims, key, algorithms=[ALGORITHM])
    return SecondFactorRequired(
        "Send `challenge` (the detail of this answer) and `code`, which your authenticator app shows, to"
        " POST /api/auth/login/second-factor within five minutes.",
        detail=challenge,
    )


def read_challenge(settings: Settings, challenge: str, now: datetime) -> Challenge:
    """Return what a challenge says. Raises `Unauthenticated` for one that is over, or not ours."""
    for one in settings.signing_keys:
        try:
            key = OctKey.import_key(_challenge_key(one))
            claims = jwt.decode(challenge, key, algorithms=[ALGORITHM]).claims
            if claims["exp"] > now.timestamp():
                by = claims["refresh_by"]
                return Challenge(UUID(claims["sub"]), RefreshBy(by) if by else None, claims["proof"])
        except (JoseError, ValueError, RecursionError):
            continue
    raise challenge_over()


def challenge_over() -> Unauthenticated:
    """Return the refusal of a challenge that is not good."""
    return Unauthenticated(
        "This sign-in has taken too long. Begin again with the password.", code="ChallengeOver"
    )


def still_proved(settings: Settings, user: User, proof: str) -> bool:
    """Tell whether the password that was shown for a challenge is still the user's."""
    return any(hmac.compare_digest(proof, proof_of(key, user)) for key in settings.signing_keys)


def proof_of(key: str, user: User) -> str:
    """Return a name of the user's present password which tells nothing of it."""
    stored = (user.password_hash or "").encode()
    mac = hmac.digest(derive_key(key, "password-proof"), user.id.bytes + stored, hashlib.sha256)
    return base64.urlsafe_b64encode(mac[:16]).decode()


def _challenge_key(key: str) -> bytes:
    return derive_key(key, "second-factor-challenge")
