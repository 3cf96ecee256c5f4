"""What comes in and goes out over HTTP when a business asks for an account."""

from typing import Any
from uuid import UUID

from pydantic import ConfigDict, Field, field_validator

from ohmstead.accounts.models import Backoffice, BackofficeStatus
from ohmstead.accounts.schemas import CamelSchema, Password, not_null
from ohmstead.accounts.texts import Email, Name, Phone, Reason
from ohmstead.core.errors import Invalid
from ohmstead.core.http import UtcTime
from ohmstead.core.text import Text
from ohmstead.core.time_zones import TimeZone


class Contact(CamelSchema):
    """The person to write to."""

    name: Name = Field(examples=["Asha"])
    email: Email
    phone: Phone
    time_zone: TimeZone | None = Field(None, description="Stands here or beside the contact.")


class BillingInfo(CamelSchema):
    """How the business is to be billed; whatever is known."""

    legal_name: Text | None = Field(None, max_length=200)
    tax_id: Text | None = Field(None, max_length=60)
    address: Text | None = Field(None, max_length=500)
    email: Email | None = None
    notes: Text | None = Field(None, max_length=1000)


class BusinessRequest(CamelSchema):
    """A business asks for an account."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "businessName": "VoltCo",
                    "contact": {"name": "Asha", "email": "ops@volt.example", "phone": "+65 6123 4567"},
                    "timeZone": "Asia/Singapore",
                }
            ]
        }
    )

    business_name: Name = Field(examples=["VoltCo"])
    contact: Contact
    billing_info: BillingInfo | None = None
    time_zone: TimeZone | None = Field(
        None, examples=["Asia/Singapore"], description="Has to be given, here or with the contact."
    )

    @property
    def zone(self) -> str:
        """The time zone, wherever it stood. Raises `Invalid` when it stood nowhere, or in two ways."""
        zone = self.time_zone or self.contact.time_zone
        if zone is None:
            fault = "is missing; give one of the IANA database, such as Asia/Colombo"
        elif self.contact.time_zone not in {None, zone}:
            fault = "stands in two places and differs; give it once"
        else:
            return zone
        raise Invalid(f"timeZone {fault}.", fields={"timeZone": fault})


class ContactChange(CamelSchema):
    """What to change of the person to write to; members that are absent stay."""

    name: Name | None = None
    email: Email | None = None
    phone: Phone | None = None

    _keep = field_validator("name", "email", "phone", mode="before")(not_null)


class BusinessChange(CamelSchema):
    """What to change of a business; members that are absent stay, within `contact` and `billingInfo` too."""

    business_name: Name | None = None
    contact: ContactChange | None = None
    billing_info: BillingInfo | None = Field(None, description="A member that is null is taken out.")
    time_zone: TimeZone | None = None

    _keep = field_validator("business_name", "contact", "billing_info", "time_zone", mode="before")(not_null)


class BusinessStatus(CamelSchema):
    """A business, and where its account stands."""

    id: UUID
    status: BackofficeStatus


class BusinessApproval(CamelSchema):
    """Who is to run the account of a business. Without a temporary password an invitation is mailed."""

    admin_email: Email
    admin_name: Name | None = Field(None, description="Left out: the contact's, where the address is its.")
    temporary_password: Password | None = Field(
        None,
        description="Has to be changed at the first sign-in; no rule of strength holds for it.",
        json_schema_extra={"format": "password"},
    )


class BusinessRejection(CamelSchema):
    """Why a business gets no account; it is mailed to its contact."""

    reason: Reason = Field(examples=["Insufficient documents"])


class ContactOut(CamelSchema):
    """The person to write to; what is null was never told."""

    name: str | None
    email: str | None
    phone: str | None


class BusinessDetail(CamelSchema):
    """A business as it asked for its account, and what became of that."""

    id: UUID
    business_name: str
    status: BackofficeStatus
    time_zone: str
    contact: ContactOut
    billing_info: dict[str, Any]
    rejection_reason: str | None
    created_at: UtcTime
    decided_at: UtcTime | None


def detail_of(row: Backoffice) -> BusinessDetail:
    """Return a business as it goes out."""
    return BusinessDetail(
        id=row.id,
        business_name=row.name,
        status=BackofficeStatus(row.status),
        time_zone=row.time_zone,
        contact=ContactOut(name=row.contact_name, email=row.contact_email, phone=row.contact_phone),
        billing_info=row.billing,
        rejection_reason=row.rejection_reason,
        created_at=row.created_at,
        decided_at=row.decided_at,
    )
