"""A charger with configuration keys, as the endpoints and jobs see its socket."""

from datetime import datetime
from typing import Any

import orjson
from tests.conftest import NOW

from ohmstead.link.links import Answer

TIMEOUT = Answer()
REFUSED = Answer(error_code="NotSupported", error_description="not here")


class KeyedLink:
    """Answers GetConfiguration and ChangeConfiguration as a charger with these keys does.

    `changing` says what becomes of a ChangeConfiguration of a key: a status, an answer, or an error to
    raise; `reading` what is answered instead of a list. `hidden` keys are never told, `lists_at_most` is
    how many it tells at once, whatever it says. `calls` is all that it was asked.
    """

    def __init__(self, keys: dict[str, str] | None = None, **behaviour: Any) -> None:
        self.keys = dict(keys or {})
        self.readonly: set[str] = behaviour.pop("readonly", set())
        self.changing: dict[str, str | Answer | Exception] = behaviour.pop("changing", {})
        self.reading: list[Answer | Exception] = behaviour.pop("reading", [])
        self.hidden: set[str] = behaviour.pop("hidden", set())
        self.lists_at_most: int = behaviour.pop("lists_at_most", 10_000)
        self.after_reboot: dict[str, str] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.waits: list[float | None] = []
        self.last_seen: datetime = NOW
        assert not behaviour, behaviour

    def disconnect(self, reason: str) -> None:
        """Part of a `ChargerLink`; nobody closes this one."""

    def reboot(self) -> None:
        """What waited for a restart takes effect."""
        self.keys.update(self.after_reboot)
        self.after_reboot.clear()

    @property
    def asked(self) -> list[list[str]]:
        """The keys of each GetConfiguration."""
        return [payload.get("key", []) for action, payload in self.calls if action == "GetConfiguration"]

    @property
    def changed(self) -> list[tuple[str, str]]:
        """Key and value of each ChangeConfiguration."""
        return [
            (payload["key"], payload["value"])
            for action, payload in self.calls
            if action == "ChangeConfiguration"
        ]

    async def call(self, action: str, payload_json: bytes, *, wait_seconds: float | None = None) -> Answer:
        payload = orjson.loads(payload_json)
        self.calls.append((action, payload))
        self.waits.append(wait_seconds)
        if action == "GetConfiguration":
            return self._read(payload.get("key", []))
        return self._change(payload["key"], payload["value"])

    def _read(self, asked: list[str]) -> Answer:
        if self.reading:
            answer = self.reading.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        spelt = {name.lower(): name for name in self.keys if name not in self.hidden}
        names = (
            [spelt[name.lower()] for name in asked if name.lower() in spelt] if asked else [*spelt.values()]
        )
        known = [
            {"key": name, "readonly": name in self.readonly, "value": self.keys[name]}
            for name in names[: self.lists_at_most]
        ]
        response: dict[str, Any] = {"configurationKey": known}
        unknown = [name for name in asked if name.lower() not in spelt]
        if unknown and len(asked) <= self.lists_at_most:
            response["unknownKey"] = unknown
        return Answer(response=response)

    def _change(self, key: str, value: str) -> Answer:
        spelt = {name.lower(): name for name in self.keys}
        name = spelt.get(key.lower())
        behaves = self.changing.get(key)
        if isinstance(behaves, Exception):
            raise behaves
        if isinstance(behaves, Answer):
            return behaves
        if behaves is None:
            behaves = "NotSupported" if name is None else "Rejected" if name in self.readonly else "Accepted"
        if behaves == "Accepted":
            self.keys[name or key] = value
        elif behaves == "RebootRequired":
            self.after_reboot[name or key] = value
        return Answer(response={"status": behaves})
