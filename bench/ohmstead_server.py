"""Ohmstead as a server under test: the real process, on a real PostgreSQL that commits durably."""

import secrets
import sys

from bench.api import Api
from bench.servers import HOST, BareServer, ServerError, cpu_seconds
from bench.setup import database_facts, register_chargers, stored_facts
from ohmstead.core.migrations import upgrade
from ohmstead.core.postgres import EmbeddedPostgres


class OhmsteadServer(BareServer):
    """`ohmstead serve` as it is shipped, on an embedded PostgreSQL with durable commits; knows `n` chargers.

    Two settings differ from their defaults: the limits of refused handshakes from an address and of commands
    of an account are off, because all chargers come from one address, and all commands from one person.
    """

    name = "ohmstead"
    _EMAIL = "bench@example.com"

    def __init__(self, *, n: int) -> None:
        super().__init__()
        self._n = n
        self._password = secrets.token_urlsafe(12)
        self._postgres = EmbeddedPostgres(self.folder / "data")
        self._url = ""
        self.api = Api(HOST, self.port)
        self.about: dict[str, str] = {}

    def stored(self) -> dict[str, int]:
        """See `stored_facts`."""
        return stored_facts(self._url)

    def cpu(self) -> dict[str, float]:
        """Processor seconds used so far by the server and by PostgreSQL."""
        postmaster = self._postgres.pid
        assert postmaster is not None
        return super().cpu() | {"postgresql": cpu_seconds(postmaster)}

    def _prepare(self) -> None:
        self._url = self._postgres.start()
        upgrade(self._url)
        register_chargers(self._url, self._n)
        self.about = database_facts(self._url)
        if self.about["fsync"] != "on" or self.about["synchronous_commit"] != "on":
            raise ServerError("the database does not commit durably; a figure from it would mean nothing")

    def _command(self) -> list[str]:
        return [sys.executable, "-c", "from ohmstead.cli import main; main()", "serve"]

    def _environment(self) -> dict[str, str]:
        return {
            "DATABASE_URL": self._url,
            "OHMSTEAD_HOST": HOST,
            "OHMSTEAD_PORT": str(self.port),
            "OHMSTEAD_DATA_DIR": str(self.folder / "data"),
            "OHMSTEAD_ADMIN_EMAIL": self._EMAIL,
            "OHMSTEAD_ADMIN_PASSWORD": self._password,
            "OHMSTEAD_OCPP_REFUSALS_PER_MINUTE": "0",
            "OHMSTEAD_RATE_LIMIT_COMMAND": "0",
        }

    async def _ready(self) -> None:
        await self.api.login(self._EMAIL, self._password)

    def _tidy(self) -> None:
        self._postgres.stop()
        super()._tidy()
