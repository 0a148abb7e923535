"""Prometheus metric families of the process: reserved memory, refused connections, dropped log lines."""

from collections.abc import Callable, Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from service.resources.memory import MemoryBudget


def process_families(
    memory: MemoryBudget, refused_connections: Callable[[], int], dropped_lines: Callable[[], int]
) -> Iterator[Metric]:
    """Yield reserved and refused memory, refused connections, and dropped log lines.

    Args:
        memory: budget of all requests.
        refused_connections: returns the number of refused connections since the start.
        dropped_lines: returns the number of dropped log lines.
    """
    yield GaugeMetricFamily("posbake_held_bytes", "Bytes of bodies and decoded pixels in memory.", memory.held)
    yield GaugeMetricFamily("posbake_held_bytes_limit", "Limit of posbake_held_bytes: MAX_HELD_BYTES.", memory.limit)
    yield CounterMetricFamily("posbake_held_refusals", "Refused memory reservations.", memory.refused)
    yield CounterMetricFamily(
        "posbake_connections_refused", "Connections refused because of a limit.", refused_connections()
    )
    yield CounterMetricFamily(
        "posbake_log_lines_dropped", "Log lines dropped because the log is not read.", dropped_lines()
    )
