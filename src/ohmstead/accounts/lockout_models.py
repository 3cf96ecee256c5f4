"""What is kept of guesses."""

from datetime import datetime

from sqlalchemy import ARRAY, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from ohmstead.core.db import Base, UtcDateTime


class SignInAttempts(Base):
    """The attempts of the last minutes on one account from one network, and how often it had to wait.

    `pair` is a keyed hash of both: neither can be read here. `begun` holds attempts of the last minutes that
    have not succeeded; `waits` counts how often it was locked, the last time until `until`. The row tells
    nothing any more from `over_at` on.
    """

    __tablename__ = "accounts_sign_in_attempts"

    pair: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    begun: Mapped[list[datetime]] = mapped_column(ARRAY(UtcDateTime()))
    waits: Mapped[int] = mapped_column(default=0, server_default="0")
    until: Mapped[datetime | None]
    over_at: Mapped[datetime] = mapped_column(index=True)
