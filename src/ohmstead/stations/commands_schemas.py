"""Commands as they come in and go out over HTTP."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StrictBool, StrictInt, StringConstraints, model_validator

from ohmstead.core.http import Schema
from ohmstead.core.text import Text
from ohmstead.link.links import Answer

ConnectorNumber = Annotated[StrictInt, Field(ge=0, le=2**31 - 1)]
"""Passed on unchecked against what we know: an operator may address connector 99."""


class CallErrorOut(Schema):
    """The CALLERROR of a charger."""

    code: str
    description: str


class CommandAnswer(Schema):
    """What the charger answered.

    `status` is the charger's own word (`Accepted` where answers to the action have none) beside its whole
    `response`, or `CallError` with the `error`, or `Timeout` when nothing came in time. An answer that lacks
    the status which it must have is a `CallError`, too, with the `response` as it came.
    """

    status: str
    response: dict[str, Any] = Field(default_factory=dict)
    error: CallErrorOut = Field(default_factory=lambda: CallErrorOut(code="", description=""))

    @classmethod
    def of(cls, answer: Answer) -> Self:
        """Put an answer into its form; what it has not is unset, to be left out."""
        if answer.response is not None:
            return cls(status=answer.status, response=answer.response)
        if answer.error_code is not None:
            error = CallErrorOut(code=answer.error_code, description=answer.error_description)
            if answer.unusable is not None:
                return cls(status=answer.status, response=answer.unusable, error=error)
            return cls(status=answer.status, error=error)
        return cls(status=answer.status)


class RemoteStart(Schema):
    """OCPP 1.6 5.11 RemoteStartTransaction."""

    id_tag: Annotated[Text, StringConstraints(min_length=1, max_length=20)]
    connector_id: ConnectorNumber | None = Field(None, description="Left out: the charger chooses.")
    charging_profile: dict[str, Any] | None = Field(None, description="A ChargingProfile of OCPP 1.6 7.8.")

    def payload(self) -> dict[str, Any]:
        """Return the payload of the CALL."""
        payload: dict[str, Any] = {"idTag": self.id_tag}
        if self.connector_id is not None:
            payload = {"connectorId": self.connector_id, **payload}
        if self.charging_profile is not None:
            payload["chargingProfile"] = self.charging_profile
        return payload


class RemoteStop(Schema):
    """OCPP 1.6 5.12 RemoteStopTransaction."""

    transaction_id: StrictInt = Field(
        ge=-(2**31), le=2**31 - 1, description="The `ocpp_transaction_id` of the session."
    )

    def payload(self) -> dict[str, Any]:
        """Return the payload of the CALL."""
        return {"transactionId": self.transaction_id}


class Availability(Schema):
    """OCPP 1.6 5.2 ChangeAvailability: give `type`, or `operative`; connector 0 is the whole charger."""

    connector_id: ConnectorNumber = 0
    type: Literal["Operative", "Inoperative"] | None = None
    operative: StrictBool | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.type is None) == (self.operative is None):
            raise ValueError('give "type": "Operative" or "Inoperative", or "operative": true or false')
        return self

    def payload(self) -> dict[str, Any]:
        """Return the payload of the CALL."""
        operative = "Operative" if self.operative else "Inoperative"
        return {"connectorId": self.connector_id, "type": self.type or operative}


class Reset(Schema):
    """OCPP 1.6 5.14 Reset."""

    type: Literal["Soft", "Hard"]

    def payload(self) -> dict[str, Any]:
        """Return the payload of the CALL."""
        return {"type": self.type}


class Unlock(Schema):
    """OCPP 1.6 5.18 UnlockConnector."""

    connector_id: ConnectorNumber

    def payload(self) -> dict[str, Any]:
        """Return the payload of the CALL."""
        return {"connectorId": self.connector_id}
