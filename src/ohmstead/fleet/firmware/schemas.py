"""What goes in and out about firmware."""

from typing import Annotated, Self
from uuid import UUID

from pydantic import Field, StrictBool, StringConstraints, model_validator

from ohmstead.core.http import Schema, UtcTime
from ohmstead.core.text import Text
from ohmstead.core.times import MomentIn
from ohmstead.fleet.firmware.models import UpdateState
from ohmstead.fleet.firmware.signing import CERTIFICATE_LENGTH, SIGNATURE_LENGTH
from ohmstead.fleet.locations import Location

Plate = Annotated[Text, StringConstraints(min_length=1, max_length=50)]
"""As long as the member of BootNotification that it is compared with."""
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$", to_lower=True)]
Retries = Annotated[int, Field(ge=0, le=100)]
RetrySeconds = Annotated[int, Field(ge=0, le=604_800)]
Hours = Annotated[int, Field(ge=1, le=8784)]


class ImageIn(Schema):
    """What a new image is: as members of a form, or in the query string."""

    vendor: Plate
    model: Plate | None = None
    version: Plate
    name: Annotated[Text, StringConstraints(max_length=100)] | None = None
    backoffice_id: UUID | None = None


class ImageOut(Schema):
    """A firmware image. Without `backoffice_id` it is for every business."""

    id: UUID
    backoffice_id: UUID | None
    vendor: str
    model: str | None
    version: str
    name: str
    size: int = Field(description="In bytes.")
    sha256: str
    created_at: UtcTime


class SigningIn(Schema):
    """The signature of the image by its maker: SignedUpdateFirmware is sent."""

    certificate: Annotated[Text, StringConstraints(max_length=2 * CERTIFICATE_LENGTH)] = Field(
        description="The signing certificate in PEM form; a chain may follow it."
    )
    signature: Annotated[Text, StringConstraints(max_length=2 * SIGNATURE_LENGTH)] = Field(
        description="Base64 of the signature over the file with SHA-256 (RSA PSS or PKCS #1 v1.5, ECDSA)."
    )


class FirmwareWork(Schema):
    """What a charger shall install, and when: an image of ours, or a file at an address outside."""

    firmware_id: UUID | None = Field(None, description="An image of ours; or give `location`.")
    location: Location | None = Field(
        None, description="An address outside: http, https, ftp, ftps or sftp; or give `firmware_id`."
    )
    version: Plate | None = Field(
        None, description="What chargers report after it, for a `location`; an image knows its own."
    )
    sha256: Sha256 | None = Field(None, description="Of the file at `location`, to check `signing` by it.")
    signing: SigningIn | None = None
    retrieve_at: MomentIn | None = Field(None, description="When to download; at once when it is left out.")
    install_at: MomentIn | None = Field(None, description="When to install; with `signing` only.")
    retries: Retries | None = Field(None, description="How often a failed download is tried again.")
    retry_interval: RetrySeconds | None = Field(None, description="Seconds between these.")
    give_up_hours: Hours | None = Field(
        None, description="Without a word of the charger for so long it is over; else as the server is set."
    )
    force: StrictBool = Field(False, description="Also where vendor or model are not those of the image.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.firmware_id is None) == (self.location is None):
            raise ValueError("give either `firmware_id` or `location`")
        if self.location is None and (self.version is not None or self.sha256 is not None):
            raise ValueError("`version` and `sha256` belong to a `location`: an image of ours knows them")
        if self.install_at is not None and self.signing is None:
            raise ValueError("`install_at` needs `signing`: UpdateFirmware has no time to install")
        return self


class UpdateIn(FirmwareWork):
    """An update of one charger."""

    replace: StrictBool = Field(False, description="Also while another update of this charger is open.")


class UpdateOut(Schema):
    """An update of a charger's firmware.

    `status` is the last word of the charger, `confirmed` whether it has booted with the new version since:
    null while that has not been seen.
    """

    id: UUID
    charger_id: str
    firmware_id: UUID | None
    location: str | None = Field(description="An address outside, without its password.")
    version: str | None = Field(description="What the charger should report afterwards.")
    signed: bool
    request_id: int
    retrieve_at: UtcTime
    install_at: UtcTime | None
    retries: int | None
    retry_interval: int | None
    state: UpdateState
    status: str | None
    detail: str
    version_before: str | None
    version_after: str | None
    confirmed: bool | None
    by_campaign: bool
    created_at: UtcTime
    updated_at: UtcTime
    deadline_at: UtcTime = Field(description="When it expires if nothing more is heard.")
    ended_at: UtcTime | None


class UpdateEventOut(Schema):
    """A word of the charger about an update, or one of ours. `times` it was said, last at `last_at`."""

    id: int
    at: UtcTime
    last_at: UtcTime
    status: str
    detail: str
    times: int
