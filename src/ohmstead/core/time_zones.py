"""Time zones that schemas take from outside."""

from functools import cache
from typing import Annotated
from zoneinfo import available_timezones

from pydantic import AfterValidator, StringConstraints


@cache
def _zones() -> dict[str, str]:
    return {name.casefold(): name for name in available_timezones()}


def _time_zone(value: str) -> str:
    known = _zones().get(value.casefold())
    if known != value:
        hint = f"; did you mean {known}?" if known else ", such as Europe/Lisbon"
        raise ValueError(f"must be a time zone of the IANA database{hint}")
    return value


TimeZone = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_time_zone)]
