"""The text that schemas and query parameters take from outside."""

from typing import Annotated

from pydantic import AfterValidator


def without_nul(text: str) -> str:
    """Refuse the NUL character: PostgreSQL cannot store or compare it."""
    if "\x00" in text:
        raise ValueError("must not contain the NUL character")
    return text


Text = Annotated[str, AfterValidator(without_nul)]
"""A text that the database can hold; give it a `max_length` where it goes into a column."""
