"""What comes in and goes out over HTTP of identity providers and identities."""

from typing import Annotated, Any, Self
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import Field, StrictBool, StringConstraints, field_validator, model_validator

from ohmstead.accounts.models import Role
from ohmstead.accounts.schemas import CamelSchema, not_null
from ohmstead.accounts.sign_in_schemas import Proof
from ohmstead.core.addresses import is_url
from ohmstead.core.http import Schema, UtcTime
from ohmstead.core.text import Text

Name = Annotated[Text, StringConstraints(min_length=1, max_length=80)]
Printable = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[!-~]+$")]
SCOPES = r"^[!#-\[\]-~]+( [!#-\[\]-~]+)*$"


def issuer_address(value: str) -> str:
    """Refuse what cannot be an issuer (OpenID Connect Discovery 1.0, 3)."""
    parts = urlsplit(value) if is_url(value) else None
    if parts is None or parts.scheme not in {"https", "http"} or parts.query or parts.fragment:
        raise ValueError("must be an address such as https://id.example.com/realms/acme")
    return value


def scopes_with_openid(value: str) -> str:
    """Refuse scopes by which no ID token would come."""
    if "openid" not in value.split(" "):
        raise ValueError("must hold openid")
    return value


class RoleRule(Schema):
    """Who has this value in this claim has this role."""

    claim: Annotated[Text, StringConstraints(min_length=1, max_length=200)] = Field(
        description="Its name, or the names on the way to it with dots between.",
        examples=["realm_access.roles"],
    )
    value: Annotated[Text, StringConstraints(min_length=1, max_length=200)] = Field(
        examples=["charging-operators"]
    )
    role: Role


class ProviderIn(Schema):
    """A provider to sign in at."""

    name: Name = Field(description="What people see on the button.", examples=["Acme"])
    issuer: Annotated[str, StringConstraints(min_length=1, max_length=500)] = Field(
        description="As its configuration names it, to the letter.",
        examples=["https://id.example.com/realms/acme"],
    )
    client_id: Printable = Field(examples=["ohmstead"])
    client_secret: Printable | None = Field(
        None,
        description="Kept encrypted and never shown; null for a public client.",
        json_schema_extra={"format": "password"},
    )
    scopes: Annotated[str, StringConstraints(min_length=1, max_length=300, pattern=SCOPES)] = Field(
        "openid email profile", description="With blanks between."
    )
    role_rules: Annotated[list[RoleRule], Field(max_length=50)] = Field(
        [], description="The first that fits counts; without one somebody is a driver."
    )
    allow_system_admin: StrictBool = Field(False, description="Whether a rule may give SystemAdmin.")
    backoffice_id: UUID | None = Field(None, description="The business of the staff that rules make.")
    make_users: StrictBool = Field(
        True, description="Whether accounts are made for those who come for the first time."
    )
    require_verified_email: StrictBool = Field(
        True, description="With false an address counts as verified when the provider does not say."
    )
    enabled: StrictBool = True

    _issuer = field_validator("issuer")(issuer_address)
    _scopes = field_validator("scopes")(scopes_with_openid)


class ProviderChange(Schema):
    """What to change of a provider; members that are absent stay."""

    name: Name | None = None
    issuer: Annotated[str, StringConstraints(min_length=1, max_length=500)] | None = None
    client_id: Printable | None = None
    client_secret: Printable | None = Field(
        None, description="Null takes it away.", json_schema_extra={"format": "password"}
    )
    scopes: Annotated[str, StringConstraints(min_length=1, max_length=300, pattern=SCOPES)] | None = None
    role_rules: Annotated[list[RoleRule], Field(max_length=50)] | None = None
    allow_system_admin: StrictBool | None = None
    backoffice_id: UUID | None = Field(None, description="Null takes it away.")
    make_users: StrictBool | None = None
    require_verified_email: StrictBool | None = None
    enabled: StrictBool | None = None

    _keep = field_validator(
        "name",
        "issuer",
        "client_id",
        "scopes",
        "role_rules",
        "allow_system_admin",
        "make_users",
        "require_verified_email",
        "enabled",
        mode="before",
    )(not_null)
    _issuer = field_validator("issuer")(issuer_address)
    _scopes = field_validator("scopes")(scopes_with_openid)

    def given(self) -> dict[str, Any]:
        """Return the members that were sent, null or not."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class ProviderOut(Schema):
    """A provider, without the secret."""

    id: UUID
    name: str
    issuer: str
    client_id: str
    has_secret: bool
    scopes: str
    role_rules: list[RoleRule]
    allow_system_admin: bool
    backoffice_id: UUID | None
    make_users: bool
    require_verified_email: bool
    enabled: bool
    redirect_uri: str = Field(description="What the provider has to be told: where people come back to.")
    created_at: UtcTime
    updated_at: UtcTime


class ProviderButton(CamelSchema):
    """A provider, for those who want to sign in."""

    id: UUID
    name: str


Secret = Annotated[str, StringConstraints(min_length=43, max_length=128, pattern=r"^[A-Za-z0-9._~-]+$")]
Code = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class CodeIn(CamelSchema):
    """The code that came back, and the secret whose challenge the round was begun with."""

    code: Code
    verifier: Secret


class LinkIn(Proof):
    """The proof of an identity: a code with its verifier, or a token of a third party; and the password."""

    code: Code | None = None
    verifier: Secret | None = None
    token: Annotated[str, StringConstraints(min_length=1, max_length=16_384)] | None = Field(
        None, description="A valid bearer token of the third party."
    )

    @model_validator(mode="after")
    def _one_proof(self) -> Self:
        if (self.token is None) != (self.code is not None and self.verifier is not None) or (
            self.token is not None and (self.code is not None or self.verifier is not None)
        ):
            raise ValueError("needs either code and verifier, or token")
        return self


class IdentityOut(CamelSchema):
    """Where else the caller signs in."""

    id: UUID
    provider_id: UUID | None = Field(description="Null for the tokens of a third party.")
    provider_name: str | None
    issuer: str
    subject: str
    email: str | None
    created_at: UtcTime
    last_login_at: UtcTime | None
