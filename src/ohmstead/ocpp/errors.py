"""The CALLERROR codes of OCPP-J 1.6 and the exception a handler raises to answer with one."""

from enum import StrEnum
from typing import Any


class ErrorCode(StrEnum):
    """The error codes of OCPP-J 1.6, 4.2.3, spelt as the standard spells them."""

    NOT_IMPLEMENTED = "NotImplemented"
    NOT_SUPPORTED = "NotSupported"
    INTERNAL_ERROR = "InternalError"
    PROTOCOL_ERROR = "ProtocolError"
    SECURITY_ERROR = "SecurityError"
    FORMATION_VIOLATION = "FormationViolation"
    PROPERTY_CONSTRAINT_VIOLATION = "PropertyConstraintViolation"
    # One "r" too few, but that is what 1.6 chargers know.
    OCCURRENCE_CONSTRAINT_VIOLATION = "OccurenceConstraintViolation"
    TYPE_CONSTRAINT_VIOLATION = "TypeConstraintViolation"
    GENERIC_ERROR = "GenericError"


class OcppError(Exception):
    """A CALL cannot be served: answer it with this CALLERROR (OCPP-J 1.6, 4.2.3).

    `description` is for the charger's engineer; `details` is a JSON object.
    """

    def __init__(self, code: ErrorCode, description: str = "", details: dict[str, Any] | None = None) -> None:
        super().__init__(code, description)
        self.code = code
        self.description = description
        self.details: dict[str, Any] = {} if details is None else details

    def __str__(self) -> str:
        return f"{self.code}: {self.description}"
