"""What comes in and goes out over HTTP when somebody signs in, and for what hangs on that."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, StringConstraints

from ohmstead.accounts.models import Role, UserStatus
from ohmstead.accounts.refresh_tokens import RefreshBy
from ohmstead.accounts.schemas import CamelSchema, Password
from ohmstead.core.http import UtcTime
from ohmstead.core.text import Text

RefreshToken = Annotated[Text, StringConstraints(min_length=1, max_length=200)]
Code = Annotated[
    Text,
    StringConstraints(min_length=6, max_length=20),
    Field(description="Six digits of the authenticator app, or a recovery code.", examples=["123456"]),
]


class SignIn(CamelSchema):
    """Who signs in, and how it wants its refresh token."""

    username: Annotated[str, StringConstraints(min_length=1, max_length=254)] = Field(
        description="The e-mail address, in any case, or a driver's NIC.", examples=["admin@example.com"]
    )
    password: Password = Field(json_schema_extra={"format": "password"})
    refresh_token: RefreshBy | Literal["none"] | None = Field(
        None,
        description="`cookie` for browsers, `body` for apps, `none`: signed in no longer than the access"
        " token. Left out, a browser gets the cookie and everything else the body.",
    )


class SecondStep(CamelSchema):
    """The challenge that a sign-in was answered with, and the code that it asks for."""

    challenge: Annotated[Text, StringConstraints(min_length=1, max_length=2000)]
    code: Code


class Refresh(CamelSchema):
    """A refresh token; browsers send theirs as a cookie instead."""

    refresh_token: RefreshToken | None = Field(None, json_schema_extra={"format": "password"})


class Tokens(CamelSchema):
    """An access token, and what comes with it."""

    access_token: str
    token_type: str = "Bearer"  # noqa: S105 # the name of the scheme (RFC 6750), no secret
    expires_in: int = Field(description="Seconds for which the access token is valid.")
    expires_at: UtcTime
    refresh_token: str | None = Field(
        description="For one use; null when it is in the cookie, or not wanted."
    )
    refresh_expires_at: UtcTime | None = Field(description="When the session ends unless it is used before.")
    session_id: UUID


class SignedIn(Tokens):
    """The tokens, and what they let their holder see at this moment."""

    user_id: UUID
    email: str
    role: Role
    status: UserStatus
    backoffice_id: UUID | None
    operator_station_ids: list[UUID]
    driver_id: UUID | None = Field(description="The id of a driver (EvOwner), for the driver's API.")
    owner_nic: str | None = Field(
        serialization_alias="ownerNIC", description="National identity card number of a driver."
    )
    must_change_password: bool = Field(description="Until `PUT /api/auth/password` all else is refused.")
    second_factor_missing: bool = Field(
        description="The role needs a second factor: until one is set up all else is refused."
    )


class SessionItem(CamelSchema):
    """A device on which somebody is signed in."""

    id: UUID
    device: str | None = Field(description="What it said of itself (User-Agent).")
    address: str | None = Field(description="From where it was used last.")
    created_at: UtcTime
    used_at: UtcTime = Field(description="When it got its last access token.")
    expires_at: UtcTime
    current: bool = Field(description="Whether this is the one that asks.")


class PasswordChange(CamelSchema):
    """The present password and the new one."""

    current: Password = Field(json_schema_extra={"format": "password"})
    new: Password = Field(json_schema_extra={"format": "password"})


class NewPassword(CamelSchema):
    """A password that somebody chose."""

    password: Password = Field(json_schema_extra={"format": "password"})


class ForgottenPassword(CamelSchema):
    """The e-mail address of an account, or of none."""

    email: Annotated[str, StringConstraints(min_length=3, max_length=254)] = Field(
        examples=["asha@example.com"]
    )


class Asked(CamelSchema):
    """What is answered whether there is such an account or not."""

    status: str = Field("Accepted", description="If there is such an account, a mail is on its way.")


class SecondFactorState(CamelSchema):
    """The second factor of the caller."""

    enabled: bool
    required: bool = Field(description="Whether the role needs one.")
    recovery_codes_left: int


class Enrolment(CamelSchema):
    """What an authenticator app needs to know: shown once."""

    secret: str = Field(description="In base32, to be typed in.")
    uri: str = Field(description="The same as an `otpauth:` address.")
    qr_svg: str = Field(description="The address as a QR code: an SVG document.")
    qr_png: str = Field(description="The same as a `data:` address of a PNG.")


class Proof(CamelSchema):
    """The password, where the account has one."""

    password: Password | None = Field(None, json_schema_extra={"format": "password"})


class FirstCode(CamelSchema):
    """A code of the authenticator app."""

    code: Code


class Disabling(Proof):
    """The password, where the account has one, and a code."""

    code: Code


class RecoveryCodes(CamelSchema):
    """Ten codes for the day on which the authenticator app is lost: shown once, each good once."""

    recovery_codes: list[str]
