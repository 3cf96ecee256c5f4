"""OCPP-J RPC framing: JSON arrays to messages and back (OCPP-J 1.6, chapter 4)."""

import re
from typing import Any, Final, NamedTuple

import orjson

from ohmstead.ocpp.errors import ErrorCode

CALL: Final = 2
CALL_RESULT: Final = 3
CALL_ERROR: Final = 4

#: The message id of a CALLERROR that answers a frame whose own id cannot be read.
UNKNOWN_MESSAGE_ID: Final = "-1"
#: OCPP-J 1.6, 4.1.4: a message id has at most 36 characters, so that a GUID fits.
MAX_MESSAGE_ID: Final = 36
MAX_DESCRIPTION: Final = 255


class Call(NamedTuple):
    """A request: `[2, id, action, payload]` (OCPP-J 1.6, 4.2.1)."""

    message_id: str
    action: str
    payload: dict[str, Any]


class CallResult(NamedTuple):
    """The answer to a CALL: `[3, id, payload]` (OCPP-J 1.6, 4.2.2)."""

    message_id: str
    payload: dict[str, Any]


class CallError(NamedTuple):
    """The refusal of a CALL: `[4, id, code, description, details]` (OCPP-J 1.6, 4.2.3).

    `code` is text and no `ErrorCode`: chargers also send codes that are in no standard.
    """

    message_id: str
    code: str
    description: str
    details: dict[str, Any]


class Ignored(NamedTuple):
    """A frame of an unknown message type: to be ignored (OCPP-J 1.6, 4.1.3)."""

    message_type: float


class FrameError(Exception):
    """The text is no OCPP-J frame.

    `message_id` is the frame's own id if it is readable and valid, else None; `message_type` is 2, 3, 4 or
    None when not even that is known.
    """

    def __init__(
        self,
        code: ErrorCode,
        description: str,
        message_id: str | None = None,
        message_type: int | None = None,
    ) -> None:
        super().__init__(code, description)
        self.code = code
        self.description = description
        self.message_id = message_id
        self.message_type = message_type

    def __str__(self) -> str:
        return f"{self.code}: {self.description}"

    @property
    def answerable(self) -> bool:
        """Whether a CALLERROR may be sent: answers are never answered, or two peers might never stop."""
        return self.message_type not in (CALL_RESULT, CALL_ERROR)

    def encode(self) -> str:
        """The CALLERROR that answers this frame, with the id "-1" when its own cannot be used."""
        return encode_error(self.message_id or UNKNOWN_MESSAGE_ID, self.code, self.description)


def parse(text: str | bytes) -> Call | CallResult | CallError | Ignored:
    """Read one WebSocket message.

    Raises FrameError, and nothing else, for whatever is no OCPP-J frame: not JSON, not an array, a wrong
    number of elements, a message id that is no text of 1 to 36 characters, an action that is no text, a
    payload that is no object, numbers and nesting beyond what the rest of the system can carry.
    """
    try:
        data = text.encode() if isinstance(text, str) else text
        frame = orjson.loads(data)
    except ValueError as error:  # JSONDecodeError, UnicodeEncodeError
        raise FrameError(ErrorCode.FORMATION_VIOLATION, f"not valid JSON: {_reason(error)}") from None
    if type(frame) is not list:
        raise FrameError(ErrorCode.FORMATION_VIOLATION, "a frame must be a JSON array: [2,id,action,{}]")
    if not frame:
        raise FrameError(ErrorCode.FORMATION_VIOLATION, "the frame is an empty array")
    kind = frame[0]
    if type(kind) is not int and type(kind) is not float:
        raise FrameError(ErrorCode.FORMATION_VIOLATION, "the message type must be a number: 2, 3 or 4")
    if kind not in (CALL, CALL_RESULT, CALL_ERROR):
        return Ignored(kind)
    kind = int(kind)
    message_id = _message_id(frame, kind)
    _refuse_extremes(data, frame, message_id, kind)
    if kind == CALL:
        if len(frame) != 4:
            raise _length_error("a CALL", "4", frame, message_id, kind)
        action, payload = frame[2], frame[3]
        if type(action) is not str:
            raise _shape_error("the action must be a string", message_id, kind)
        if type(payload) is not dict:
            raise _shape_error("the payload must be a JSON object", message_id, kind)
        return Call(message_id, action, payload)
    if kind == CALL_RESULT:
        if len(frame) != 3:
            raise _length_error("a CALLRESULT", "3", frame, message_id, kind)
        payload = frame[2]
        if type(payload) is not dict:
            raise _shape_error("the payload must be a JSON object", message_id, kind)
        return CallResult(message_id, payload)
    return _call_error(frame, message_id)


def encode_call(message_id: str, action: str, payload_json: bytes) -> str:
    """A CALL frame around a payload that is JSON text already; every literal of it is kept."""
    return f"[2,{_quote(message_id)},{_quote(action)},{payload_json.decode()}]"


def encode_result(message_id: str, payload: dict[str, Any] | bytes) -> str:
    """A CALLRESULT frame; `payload` is a JSON object, or its text."""
    body = payload if isinstance(payload, bytes) else orjson.dumps(payload)
    return f"[3,{_quote(message_id)},{body.decode()}]"


def encode_error(message_id: str, code: str, description: str, details: dict[str, Any] | None = None) -> str:
    """A CALLERROR frame; the description is cut to 255 characters (OCPP-J 1.6, 4.2.3)."""
    body = orjson.dumps(details).decode() if details else "{}"
    return f"[4,{_quote(message_id)},{_quote(code)},{_quote(description[:MAX_DESCRIPTION])},{body}]"


_STRING_OR_SPACE = re.compile(rb'("[^"\\]*(?:\\.[^"\\]*)*")|[ \t\r\n]+', re.DOTALL)


def compact(json_text: bytes) -> bytes:
    """Strip the white space between the tokens of valid JSON.

    The order of members and every literal stay as they are: `1.10` is still `1.10`, which a decode and
    encode would lose. Text that is not valid JSON may change its meaning, so parse it first.
    """
    return _STRING_OR_SPACE.sub(rb"\1", json_text)


def _message_id(frame: list[Any], kind: int) -> str:
    if len(frame) < 2:
        raise FrameError(ErrorCode.FORMATION_VIOLATION, "the message id is missing", None, kind)
    message_id = frame[1]
    if type(message_id) is not str:
        raise FrameError(ErrorCode.FORMATION_VIOLATION, "the message id must be a string", None, kind)
    if not message_id:
        raise FrameError(ErrorCode.FORMATION_VIOLATION, "the message id is empty", None, kind)
    if len(message_id) > MAX_MESSAGE_ID:
        raise FrameError(
            ErrorCode.FORMATION_VIOLATION,
            f"the message id has {len(message_id)} characters, {MAX_MESSAGE_ID} are allowed",
            None,
            kind,
        )
    return message_id


def _call_error(frame: list[Any], message_id: str) -> CallError:
    # Chargers leave out the last elements or send null for them; the code alone tells enough.
    if not 3 <= len(frame) <= 5:
        raise _length_error("a CALLERROR", "5", frame, message_id, CALL_ERROR)
    code = frame[2]
    description = frame[3] if len(frame) > 3 else None
    details = frame[4] if len(frame) > 4 else None
    if type(code) is not str:
        raise _shape_error("the error code must be a string", message_id, CALL_ERROR)
    if description is not None and type(description) is not str:
        raise _shape_error("the error description must be a string", message_id, CALL_ERROR)
    if details is not None and type(details) is not dict:
        raise _shape_error("the error details must be a JSON object", message_id, CALL_ERROR)
    return CallError(message_id, code, description or "", details or {})


# OCPP nests fewer than ten containers; orjson writes at most 254 and jsonschema-rs walks at most 255.
_MANY_BRACKETS = 250
_DIGITS_ALIKE = bytes.maketrans(b"0123456789", b"0" * 10)
_LONG_NUMBER = b"0" * 19
_STRING_OR_INTEGER = re.compile(
    rb'"[^"\\]*(?:\\.[^"\\]*)*"|(?<![0-9.eE+])-?[0-9]{19,}(?![0-9.eE])', re.DOTALL
)
_INT64 = 2**63


def _refuse_extremes(data: bytes, frame: list[Any], message_id: str, kind: int) -> None:
    """Refuse what orjson reads but would lose digits of, or what other parts cannot walk.

    orjson turns integers beyond 64 bits into floats, and its own writer and jsonschema-rs stop at about 254
    levels. Both checks begin with a scan that costs less than a microsecond for an ordinary frame.
    """
    if _LONG_NUMBER in data.translate(_DIGITS_ALIKE):
        for found in _STRING_OR_INTEGER.finditer(data):
            token = found.group()
            if not token.startswith(b'"') and (len(token) > 20 or not -_INT64 <= int(token) < _INT64):
                raise _shape_error("an integer does not fit into 64 bits", message_id, kind)
    if data.count(b"[") + data.count(b"{") > _MANY_BRACKETS:
        try:
            orjson.dumps(frame)
        except TypeError:  # JSONEncodeError: recursion limit reached
            raise _shape_error("the JSON is nested too deeply", message_id, kind) from None


def _shape_error(description: str, message_id: str, kind: int) -> FrameError:
    return FrameError(ErrorCode.FORMATION_VIOLATION, description, message_id, kind)


def _length_error(name: str, expected: str, frame: list[Any], message_id: str, kind: int) -> FrameError:
    return _shape_error(f"{name} has {expected} elements, this frame has {len(frame)}", message_id, kind)


def _reason(error: ValueError) -> str:
    if isinstance(error, orjson.JSONDecodeError):
        return f"{error.msg} at character {error.pos}"
    return "the text holds characters that UTF-8 cannot carry"


def _quote(text: str) -> str:
    try:
        return orjson.dumps(text).decode()
    except TypeError:  # a lone surrogate cannot be written as UTF-8
        return orjson.dumps(text.encode("utf-8", "replace").decode()).decode()
