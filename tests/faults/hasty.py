"""`ohmstead serve` that finds within seconds what a killed process was working on, and says what it claims.

python -m tests.faults.hasty serve --port 9000
"""

from datetime import timedelta

from ohmstead import cli
from ohmstead.fleet.campaigns import dispatcher, progress, turns
from ohmstead.fleet.campaigns.dispatcher import Dispatcher
from ohmstead.fleet.campaigns.turns import Claimed

LEASE_SECONDS = 4.0
CLAIMED = "has claimed"


def shorten() -> None:
    """Let the leases of campaigns be short, and all that hangs on them."""
    turns.LEASE = timedelta(seconds=LEASE_SECONDS)
    dispatcher.RENEW_SECONDS = LEASE_SECONDS / 4
    dispatcher.LAPSE_SECONDS = LEASE_SECONDS * 3 / 4
    progress.UNREACHED_AGAIN = timedelta(seconds=1)


def tell_claims() -> None:
    """Say on the standard output which charger is begun with, before it is."""
    begin = Dispatcher._begin

    def told(self: Dispatcher, claimed: Claimed) -> None:
        print(CLAIMED, claimed.charger_id, flush=True)  # noqa: T201 # the test reads it
        begin(self, claimed)

    Dispatcher._begin = told  # type: ignore[method-assign] # replaces what the program uses


if __name__ == "__main__":
    shorten()
    tell_claims()
    cli.main()
