"""What is wrong with a line of a table: all of it, however many rules find it."""

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ohmstead.core.errors import DomainError
from ohmstead.fleet.onboarding.sheets import Fault, Line

Wanted = TypeVar("Wanted", bound=BaseModel)


class Faults:
    """What is wrong with one line, each told once; it begins with the cells that could not be read."""

    def __init__(self, line: Line) -> None:
        self.line = line.number
        self.found = list(line.faults)

    def tell(self, column: str | None, message: str) -> None:
        """Note what is wrong with a column, or with the line as a whole, and what to do."""
        fault = Fault(self.line, column, message)
        if fault not in self.found:
            self.found.append(fault)

    def tell_of(self, error: DomainError) -> None:
        """Note a refusal of the service."""
        for column, message in error.fields.items() or [(None, error.message)]:
            self.tell(column, message)

    def of(self, column: str) -> bool:
        """Whether something is wrong with a column, so that what it says is not known."""
        return any(fault.column == column for fault in self.found)

    def wanted(self, kind: type[Wanted], cells: dict[str, Any]) -> Wanted | None:
        """Return what a line asks for, or None with everything that the schema finds wrong with it.

        A schema looks at no member while one of them is unsound (a number of more than 64 bits, say): such a
        one is told and taken out, so that the others are looked at.
        """
        try:
            return kind.model_validate(cells)
        except ValidationError as error:
            left = dict(cells)
            for one in error.errors():
                column, message = _told(one)
                self.tell(column, message)
                if one["type"] == "unsound" and not one["loc"] and column is not None:
                    left.pop(column, None)
            if len(left) < len(cells):
                self.wanted(kind, left)
            return None


def _told(error: ErrorDetails) -> tuple[str | None, str]:
    """Return the column that an error of a schema is about, and what is wrong there."""
    place: Sequence[int | str] = error["loc"]
    if error["type"] == "unsound" and not place:
        place = error["ctx"]["at"]
    if not place:
        return None, error["msg"]
    column, *within = place
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "missing" and not within:
        message = "is missing: every line needs it"
    inner = [f"entry {one + 1}" if isinstance(one, int) else one for one in within if one not in TAGS]
    return str(column), f"{', '.join(inner)}: {message}" if inner else message


TAGS = frozenset({"list", "number"})
"""What a schema calls the forms that a member may have: nothing that stands in a file."""
