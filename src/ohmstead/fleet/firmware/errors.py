"""How requests about firmware are refused."""

from uuid import UUID

from ohmstead.core.errors import Conflict, DomainError, Kind, NotFound


class FirmwareExists(Conflict):
    """The same vendor, model and version is there already."""

    code = "FirmwareExists"


class FirmwareInUse(Conflict):
    """A charger may still get the image."""

    code = "FirmwareInUse"


class FirmwareForOthers(DomainError):
    """The image is for chargers of another vendor, model or business."""

    kind = Kind.RULE
    code = "FirmwareForOthers"


class UpdateRunning(Conflict):
    """The charger has an update that is not over."""

    code = "UpdateRunning"


def no_image(image_id: UUID) -> NotFound:
    """Return that there is no such image in the caller's scope."""
    return NotFound(f"There is no firmware {image_id}.", code="FirmwareNotFound")


def no_update(update_id: UUID) -> NotFound:
    """Return that there is no such update in the caller's scope."""
    return NotFound(f"There is no firmware update {update_id}.", code="FirmwareUpdateNotFound")
