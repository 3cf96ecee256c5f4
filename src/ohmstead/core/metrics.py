"""The figures for Prometheus. Names follow its conventions: base units, `_total` for counters."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

REGISTRY = CollectorRegistry()

CONNECTIONS = Gauge("ohmstead_ocpp_connections", "Chargers connected to this process.", registry=REGISTRY)


class MessageCounts(Collector):
    """Counts messages in a plain dict: a counter of the library costs as much as reading the message."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str], int] = {}

    def count(self, direction: str, action: str, result: str) -> None:
        """Count one CALL by direction, action and result."""
        key = (direction, action, result)
        self._counts[key] = self._counts.get(key, 0) + 1

    def collect(self) -> Iterable[Metric]:
        """Give the counts to Prometheus."""
        family = CounterMetricFamily(
            "ohmstead_ocpp_messages",
            "CALLs by direction, action and result (ok, or the error code).",
            labels=["direction", "action", "result"],
        )
        for key, count in list(self._counts.items()):
            family.add_metric(key, count)
        yield family


MESSAGES = MessageCounts()
REGISTRY.register(MESSAGES)
HANDSHAKES = Counter(
    "ohmstead_ocpp_handshakes_total",
    "Handshakes of chargers by HTTP status.",
    ["status"],
    registry=REGISTRY,
)
COMMIT_SECONDS = Histogram(
    "ohmstead_commit_seconds",
    "Time of one group commit of the hot path.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
    registry=REGISTRY,
)
GROUP_SIZE = Histogram(
    "ohmstead_commit_group_size",
    "Messages in one group commit.",
    buckets=(1, 2, 5, 10, 25, 50, 100, 250, 500, 1000),
    registry=REGISTRY,
)
WRITER_QUEUE = Gauge("ohmstead_writer_queue", "Messages that wait for the next group.", registry=REGISTRY)
LIVE_LISTENERS = Gauge("ohmstead_live_listeners", "Open live sockets.", registry=REGISTRY)
LIVE_DROPPED = Counter(
    "ohmstead_live_dropped_total", "Live listeners that were ended by us.", ["why"], registry=REGISTRY
)
REDIS_UP = Gauge("ohmstead_redis_up", "Whether Redis answers; NaN without REDIS_URL.", registry=REGISTRY)
REDIS_UP.set(float("nan"))
JOBS = Gauge("ohmstead_jobs", "Jobs in the queue by state.", ["state"], registry=REGISTRY)
HTTP_SECONDS = Histogram(
    "ohmstead_http_request_seconds",
    "Time of HTTP requests by method, route template and status.",
    ["method", "route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=REGISTRY,
)
