"""How requests about diagnostics are refused."""

from uuid import UUID

from ohmstead.core.errors import DomainError, Kind, NotFound


class LinkUsed(DomainError):
    """A link for one upload that has brought its file, or failed too often."""

    kind = Kind.GONE
    code = "LinkUsed"


def no_job(job_id: UUID) -> NotFound:
    """Return that there is no such job in the caller's scope."""
    return NotFound(f"There are no diagnostics {job_id}.", code="DiagnosticsNotFound")
