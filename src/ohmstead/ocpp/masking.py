"""Hide secrets in the raw text of frames before it is logged, stored or shown.

Hidden are the values of secret configuration keys, members whose name says that they are secret, passwords
in URLs and the signatures of signed URLs. Everything else of the text stays as it was, to the character. Too
much is hidden rather than too little where text is broken.
"""

import json
import re
from typing import Final

import orjson

MASK: Final = "***"
_QUOTED_MASK: Final = f'"{MASK}"'

# Compared with names in lower case and without punctuation: Authorization_Key is authorizationkey.
_SECRET_WORDS: Final = (
    "password",
    "passwd",
    "secret",
    "token",
    "psk",
    "authorizationkey",
    "privatekey",
    "apikey",
)
_PUNCTUATION: Final = re.compile(r"[\W_]+")

# Every level of JSON text inside JSON text doubles its backslashes: nobody honest goes this deep.
_DEEPEST: Final = 8
# Nor this deep in objects and arrays: what lies deeper is hidden whole.
_DEEPEST_CONTAINER: Final = 64


def mask(action: str | None, text: str) -> str:
    """The text of a frame without its secrets; the same object when it holds none. Never raises.

    `action` is the action of the frame, or of the CALL that it answers, if known: the value of a
    ChangeConfiguration whose key cannot be read is hidden too. The text need not be valid JSON.
    """
    if action != "ChangeConfiguration" and not _suspicious(text):
        return text
    return _mask_text(text, action == "ChangeConfiguration", 0)


def mask_url(url: str) -> str:
    """A URL, or text with URLs in it, without passwords (`ftp://user:***@host`), signatures and signed paths.

    A password with an unescaped slash is found too, unless it looks like a port (`host:123/...`).
    """
    if "//" not in url and "\\/" not in url:
        return url
    parts = _AUTHORITY_START.split(url)
    if len(parts) > 1:
        for index in range(2, len(parts), 2):
            parts[index] = _mask_userinfo(parts[index])
        url = "".join(parts)
    url = _SIGNED_PATH.sub(rf"\1{MASK}", url)
    return _QUERY_MEMBER.sub(_mask_query_member, url)


def _suspicious(text: str) -> bool:
    """Whether the text may hold a secret: a scan of less than a microsecond for an ordinary frame.

    A backslash may hide a name, a slash or JSON inside a string. The words key, token and psk are looked for
    around the letter k, which is much rarer in frames than their other letters.
    """
    if "\\" in text or ("/" in text and "//" in text):
        return True
    lower = text.lower()
    if "secret" in lower or "passw" in lower:
        return True
    # The last character can begin no word.
    last = len(lower) - 1
    at = lower.find("k", 0, last)
    while at >= 0:
        if lower[at + 1] == "e" or lower[at - 1] == "s":
            return True
        at = lower.find("k", at + 1, last)
    return False


def _plain(name: str) -> str:
    return _PUNCTUATION.sub("", name.lower())


def _is_secret(plain: str) -> bool:
    return any(word in plain for word in _SECRET_WORDS)


def is_secret_name(name: str) -> bool:
    """Whether the value of a configuration key, or of a member, of this name is a secret."""
    return _is_secret(_plain(name).replace("idtoken", ""))


# --- URLs ---------------------------------------------------------------------------------------

# PHP writes "http:\/\/" in JSON.
_AUTHORITY_START: Final = re.compile(r"(:\\*/\\*/)")
_URL_END: Final = re.compile(r"[\s\"]")
_PATH_START: Final = re.compile(r"[/?#\\]")
_PORT: Final = re.compile(r"[0-9]{1,5}")
# Our own links to files: whoever has the 48 characters may use them.
_SIGNED_PATH: Final = re.compile(r"(/(?:files|uploads)\\*/)[A-Za-z0-9_-]{48}(?![A-Za-z0-9_-])")
_QUERY_MEMBER: Final = re.compile(r"([?&;#])([\w.%-]{1,64})=([^&#\s\"<>]+)")


def _mask_userinfo(rest: str) -> str:
    """What follows `://`, with the password hidden. Works in one pass: text from chargers may be hostile."""
    end = _URL_END.search(rest)
    body = rest[: end.start()] if end else rest
    colon = body.find(":")
    path = _PATH_START.search(body)
    slash = path.start() if path else len(body)
    if colon < 0 or colon > slash or body.startswith("["):
        return rest
    at = body.rfind("@", colon, slash)
    if at < 0:
        # No "@" before the path: a host and port, or a password that should have been percent-encoded.
        at = body.rfind("@", slash)
        if at < 0 or _PORT.fullmatch(body, colon + 1, slash):
            return rest
    return f"{rest[: colon + 1]}{MASK}{rest[at:]}"


def _mask_query_member(found: re.Match[str]) -> str:
    before, name, _ = found.groups()
    plain = _plain(name)
    if plain == "sig" or plain.endswith("signature") or _is_secret(plain):
        return f"{before}{name}={MASK}"
    return found.group()


# --- JSON ---------------------------------------------------------------------------------------

_TOKEN: Final = re.compile(
    r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[{}\[\]:,]|[^\s"{}\[\]:,]+',
    re.DOTALL,
)


# Takes control characters within strings. One for all: making one takes longer than using it.
_LENIENT: Final = json.JSONDecoder(strict=False)


class _Member:
    """What the name of an object's member says of its values; found once, however many follow."""

    __slots__ = ("is_data", "is_key", "is_secret", "is_value")

    def __init__(self, name: str) -> None:
        plain = _plain(name)
        self.is_data = name.lower() == "data"
        self.is_key = plain == "key"
        self.is_secret = _is_secret(plain.replace("idtoken", ""))
        self.is_value = plain == "value"


_NAMELESS: Final = _Member("")


class _Container:
    """An object or array that the scan is inside of."""

    __slots__ = ("after_colon", "has_key", "is_object", "member", "secret_key", "start", "values")

    def __init__(self, start: int, is_object: bool) -> None:
        self.start = start
        self.is_object = is_object
        self.after_colon = False
        self.member = _NAMELESS
        # For objects such as {"key": "AuthorizationKey", "value": "..."}, with the two in either order.
        self.has_key = False
        self.secret_key = False
        self.values: list[tuple[int, int]] = []


class _Scan:
    """One pass over the tokens of JSON text, which may be cut off or broken; collects the replacements.

    The work for a token does not depend on how much lies around it: chargers may send the worst of texts.
    """

    def __init__(self, text: str, hide_keyless: bool, depth: int) -> None:
        self.text = text
        self.hide_keyless = hide_keyless
        self.depth = depth
        self.edits: list[tuple[int, int, str]] = []
        self.stack: list[_Container] = []
        # How many containers deeper than is looked into, and where the outermost of those begins.
        self.too_deep = 0
        self.deep_start = 0

    def run(self) -> str:
        for found in _TOKEN.finditer(self.text):
            if self.too_deep:
                self._skip(found.group(), found.end())
            else:
                self._token(found.group(), found.start(), found.end())
        if self.too_deep:
            self.edits.append((self.deep_start, len(self.text), _QUOTED_MASK))
        while self.stack:
            self._close(len(self.text))
        return self._edited()

    def _token(self, token: str, start: int, end: int) -> None:
        top = self.stack[-1] if self.stack else None
        first = token[0]
        if first in "{[":
            if len(self.stack) == _DEEPEST_CONTAINER:
                self.too_deep, self.deep_start = 1, start
            else:
                self.stack.append(_Container(start, first == "{"))
        elif first in "}]":
            if self.stack:
                self._close(end)
        elif top is None:
            if first == '"':
                self._string(_NAMELESS, token, start, end)
        elif first == ":":
            top.after_colon = True
        elif first == ",":
            top.after_colon = False
        elif top.is_object and not top.after_colon:
            if first == '"':
                top.member = _Member(_decoded(token))
                self._string(_NAMELESS, token, start, end)
        else:
            self._value(top, token, start, end)
            if first == '"':
                self._string(top.member if top.is_object else _NAMELESS, token, start, end)

    def _skip(self, token: str, end: int) -> None:
        """Look for the end of what lies too deep, and hide it."""
        first = token[0]
        if first in "{[":
            self.too_deep += 1
        elif first in "}]":
            self.too_deep -= 1
            if not self.too_deep:
                self.edits.append((self.deep_start, end, _QUOTED_MASK))

    def _value(self, top: _Container, token: str | None, start: int, end: int) -> None:
        """A whole value of an object's member: a text or a number; of an object or array `token` is None."""
        if not top.is_object:
            return
        member = top.member
        if member.is_secret:
            self.edits.append((start, end, _QUOTED_MASK))
        elif member.is_key:
            top.has_key = True
            # A key that is no text cannot be read, so the value is taken for a secret.
            top.secret_key = top.secret_key or token is None or _is_secret(_plain(_decoded(token)))
        elif member.is_value:
            top.values.append((start, end))

    def _string(self, member: _Member, token: str, start: int, end: int) -> None:
        """Look into a text: for JSON in it, as in the data of a DataTransfer, and for URLs."""
        decoded = _decoded(token)
        if member.is_data or decoded.lstrip()[:1] in ("{", "["):
            masked = _mask_text(decoded, self.hide_keyless, self.depth + 1)
        else:
            masked = mask_url(decoded)
        if masked != decoded:
            self.edits.append((start, end, json.dumps(masked)))

    def _close(self, end: int) -> None:
        closed = self.stack.pop()
        if closed.secret_key or (self.hide_keyless and not closed.has_key):
            self.edits += [(start, stop, _QUOTED_MASK) for start, stop in closed.values]
        if self.stack:
            self._value(self.stack[-1], None, closed.start, end)

    def _edited(self) -> str:
        parts: list[str] = []
        position = 0
        # Of edits inside each other the outermost counts; at the same place the one that hides all.
        for start, end, replacement in sorted(self.edits, key=lambda e: (e[0], -e[1], e[2] != _QUOTED_MASK)):
            if start >= position:
                parts += (self.text[position:start], replacement)
                position = end
        return "".join((*parts, self.text[position:])) if parts else self.text


def _mask_text(text: str, hide_keyless: bool, depth: int) -> str:
    if depth > _DEEPEST:
        return MASK
    masked = _Scan(text, hide_keyless, depth).run()
    return masked if _is_json(text) else _mask_loosely(masked, hide_keyless)


def _decoded(token: str) -> str:
    """The text that a JSON string stands for; of a broken one, its raw text."""
    raw = token.removeprefix('"').removesuffix('"')
    if "\\" not in raw:
        return raw
    try:
        value = _LENIENT.decode(f'"{raw}"')
    except ValueError:
        return raw
    return value if isinstance(value, str) else raw


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except ValueError:
        return False
    return True


# --- Text that is not JSON ----------------------------------------------------------------------

_NAME: Final = (
    r"(?:password|passwd|secret|(?<!id)token|psk|authorization[_ -]?key|private[_ -]?key|api[_ -]?key)"
)
# What follows a part is never in it, so none of them (`+`) tries again with less: the text may be hostile.
_SEPARATOR: Final = r"[\w.-]{0,64}+\\*+[\"']?+\s*+[:=]\s*+"
# In quotes of JSON inside JSON, in double quotes, in single quotes, or bare up to the next delimiter.
_LOOSE_VALUE: Final = r"(?:\\++\"[^\"]*\"?|\"(?:[^\"\\]|\\.)*\"?|'[^']*'?|[^\s\"'\\,;&}\]][^,;&}\]\r\n]*)"
_FLAGS: Final = re.IGNORECASE | re.DOTALL
_SECRET_NAME: Final = re.compile(_NAME, _FLAGS)
_SECRET_PAIR: Final = re.compile(f"({_NAME}{_SEPARATOR}){_LOOSE_VALUE}", _FLAGS)
_VALUE_PAIR: Final = re.compile(rf"(\bvalue{_SEPARATOR}){_LOOSE_VALUE}", _FLAGS)


def _mask_loosely(text: str, hide_values: bool) -> str:
    """Hide what looks like `name: value` or `name=value`; with a secret word about, every `value` as well."""
    if hide_values or _SECRET_NAME.search(text):
        text = _SECRET_PAIR.sub(rf'\1"{MASK}"', text)
        text = _VALUE_PAIR.sub(rf'\1"{MASK}"', text)
    return mask_url(text)
