"""What is wrong with a line of a table: all of it, however many steps find it."""

from pydantic import ValidationError

from ohmstead.core.errors import DomainError
from ohmstead.fleet.onboarding.sheets import Fault


class Faulty(Exception):
    """A line with faults, each as it was raised."""

    def __init__(self, errors: list[ValidationError | DomainError]) -> None:
        super().__init__(*errors)
        self.errors = errors


class Faults:
    """Gathers what the steps of a line find: `with faults:` around each, `end()` after the last."""

    def __init__(self) -> None:
        self._errors: list[ValidationError | DomainError] = []

    def __enter__(self) -> None:
        """Begin a step."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        """End a step; what it found is kept, and does not go further."""
        if isinstance(error, ValidationError | DomainError):
            self._errors.append(error)
            return True
        return False

    def end(self) -> None:
        """Raise `Faulty` when a step has found anything."""
        if self._errors:
            raise Faulty(self._errors)


def told(line: int, error: ValidationError | DomainError) -> list[Fault]:
    """Return an error as faults of a line, by their columns."""
    if isinstance(error, DomainError):
        found = error.fields.items() or [(None, error.message)]
        return [Fault(line, name, fault) for name, fault in found]
    return [
        Fault(line, str(one["loc"][0]) if one["loc"] else None, one["msg"].removeprefix("Value error, "))
        for one in error.errors()
    ]
