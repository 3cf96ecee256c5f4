"""Kinds of text that the schemas of people and businesses share."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from ohmstead.accounts.emails import new_email
from ohmstead.core.errors import Invalid
from ohmstead.core.text import Text

_PHONE = re.compile(r"\+?[0-9 ()./-]{3,39}")


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must consist of printable characters")
    return value


def _email(value: str) -> str:
    try:
        return new_email(value)
    except Invalid as error:
        raise ValueError(error.fields["email"]) from error


def _phone(value: str) -> str:
    if not _PHONE.fullmatch(value):
        raise ValueError("must be a telephone number such as +94 11 234 5678")
    return value


Name = Annotated[Text, StringConstraints(min_length=1, max_length=200), AfterValidator(_printable)]
"""What a person or a business is called."""

Email = Annotated[
    Text,
    StringConstraints(min_length=3, max_length=254),
    AfterValidator(_email),
    Field(json_schema_extra={"format": "email"}, examples=["asha@volt.example"]),
]
"""The address of a new account, in its one spelling."""

Phone = Annotated[
    Text, StringConstraints(max_length=40), AfterValidator(_phone), Field(examples=["+94 11 234 5678"])
]

Reason = Annotated[Text, StringConstraints(min_length=1, max_length=500)]
"""Why something was decided; whom it concerns may read it."""
