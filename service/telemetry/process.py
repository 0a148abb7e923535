"""What the process itself holds and has refused, as Prometheus' metric families."""

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from service.resources.memory import MemoryBudget
from service.transport.connections import Connections
from service.transport.log_writer import dropped_lines


def process_families(held: MemoryBudget, connections: Connections | None) -> Iterator[Metric]:
    """Yield memory held and refused, connections refused, and lines that the log has lost.

    Args:
        held: of all requests.
        connections: None where the server does not limit them.
    """
    yield GaugeMetricFamily("posbake_held_bytes", "Bytes of bodies and decoded pixels in memory.", held.held)
    yield GaugeMetricFamily("posbake_held_bytes_limit", "Most bytes that may be held: MAX_HELD_BYTES.", held.limit)
    yield CounterMetricFamily("posbake_held_refusals", "Requests for memory that there was no room for.", held.refused)
    refused = 0 if connections is None else connections.refused
    yield CounterMetricFamily("posbake_connections_refused", "Connections that were one too many.", refused)
    yield CounterMetricFamily(
        "posbake_log_lines_dropped", "Lines of the log that were dropped because it is not read.", dropped_lines()
    )
