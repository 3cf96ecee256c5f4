"""The families of the API, told by their paths: each has the manners of the document it comes from."""

import re
from typing import Final

BOOKING: Final = re.compile(
    r"^/api/(auth|backoffice|station|operator|evowner|booking|bookings|sessions)(?=/|$)", re.IGNORECASE
)
"""Its clients write `/api/Station` and `/api/station`: the names of its resources count in any case."""
DRIVER: Final = re.compile(r"^/(charging-points|drivers)(?=/|$)")


SLASHES_END: Final = re.compile(r"^/(api|charging-points|drivers|docs|health|sign-in)/")
"""Here a slash at the end of a path means nothing: it is served as the path without it."""


def in_one_form(path: str) -> str:
    """Return a path as the routes are written: in one case (see there), and without a slash at its end."""
    path = in_one_case(path)
    return path.removesuffix("/") if SLASHES_END.match(path) else path


def in_one_case(path: str) -> str:
    """Return a path of the booking family with its resource name in lower case, any other as it is."""
    return BOOKING.sub(lambda found: found.group().lower(), path)


def status_of_invalid(path: str) -> int:
    """Return the HTTP status of invalid input: 400 in the booking and driver families, else 422."""
    return 400 if BOOKING.match(path) or DRIVER.match(path) else 422
