"""What can go wrong between a simulated charge point and its central system."""


class SimulatorError(Exception):
    """Base of all errors that this package raises on purpose."""


class Offline(SimulatorError):
    """There is no connection, or it ended before the answer came."""


class Refused(SimulatorError):
    """The central system refused the WebSocket handshake.

    `status` is the HTTP status (401, 404, 429, ...) or None when nobody listened at all.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class CallFailed(SimulatorError):
    """The central system answered a CALL with a CALLERROR (or with an answer that breaks the schema)."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(f"{code}: {description}" if description else code)
        self.code = code
        self.description = description


class NoAnswer(SimulatorError):
    """The central system did not answer a CALL within the response timeout."""


class NotPossible(SimulatorError):
    """The charge point's own state forbids the action (no car, reserved for another tag, ...)."""


class ScenarioError(SimulatorError):
    """A scenario file is wrong. The message names the file, the line and what is allowed."""
