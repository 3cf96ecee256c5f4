"""The text that schemas and query parameters take from outside."""

from typing import Annotated

from pydantic import AfterValidator


def without_nul(text: str) -> str:
    """Refuse the NUL character: PostgreSQL cannot store or compare it."""
    if "\x00" in text:
        raise ValueError("must not contain the NUL character")
    return text


def storable(text: str, at_most: int) -> str:
    """Return a text that we cannot refuse, such as a charger's, as a column takes it: cut, without NUL."""
    return text.replace("\x00", "")[:at_most]


Text = Annotated[str, AfterValidator(without_nul)]
"""A text that the database can hold; give it a `max_length` where it goes into a column."""
