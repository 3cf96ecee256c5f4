"""How a command finds its handler, with types around the untyped decorator of the `ocpp` package."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ocpp.routing import on

if TYPE_CHECKING:
    from ohmstead_simulator.station import SimulatedStation

Handler = TypeVar("Handler", bound=Callable[..., Any])


def answers(action: str) -> Callable[[Handler], Handler]:
    """Mark a method as the one that answers `action`; it gets the payload as snake_case keywords."""
    return cast(Callable[[Handler], Handler], on(action))


class Commands:
    """Base of the command groups."""

    station: "SimulatedStation"
    follow_ups: list[Callable[[], Coroutine[Any, Any, None]]]

    def then(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do this once the answer has been sent."""
        self.follow_ups.append(work)
