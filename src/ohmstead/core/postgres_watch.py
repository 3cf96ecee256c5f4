"""Whoever holds the embedded PostgreSQL starts it again when it ends by itself: nothing needs a restart."""

import threading
from types import TracebackType

import structlog

from ohmstead.core.errors import StartupError
from ohmstead.core.postgres import EmbeddedPostgres

logger = structlog.stdlib.get_logger(__name__)

LOOK_SECONDS = 1.0
RETRY_AT_MOST = 60.0


class PostgresWatch:
    """Looks after a server that was started, in a thread of its own; a context manager.

    A start that fails is tried again, after twice the time up to a minute. Several processes may watch the
    same server: one of them starts it, the others find it running.
    """

    def __init__(self, server: EmbeddedPostgres, *, every: float = LOOK_SECONDS) -> None:
        self._server = server
        self._every = every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="postgres watch", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End; a start that is under way is awaited."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        wait = self._every
        while not self._stop.wait(wait):
            try:
                if self._server.pid is None:
                    logger.error("postgres.ended", log=str(self._server.log))
                    self._server.start_again()
                    logger.warning("postgres.started_again")
            except (StartupError, OSError) as error:
                wait = min(2 * wait, RETRY_AT_MOST)
                logger.error("postgres.not_started", why=str(error), again_in_seconds=wait)
            except Exception:
                # Whatever it was, a fault of ours too: nobody else would ever start the server again.
                wait = min(2 * wait, RETRY_AT_MOST)
                logger.exception("postgres.watch_failed", again_in_seconds=wait)
            else:
                wait = self._every
