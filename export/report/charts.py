"""Numbers as lengths: what the page draws of operators, nodes, seconds and parity."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from artifact import Graph, Parity

_LOWEST = -12
"""Power of ten below which an error is drawn as none: float64 has 16 digits, and the graph 7."""


@dataclass(frozen=True)
class Bar:
    """One line of a chart.

    Attributes:
        name: what is counted.
        text: the number as it is read.
        share: length, 0 to 1.
        part: part of that, what is left, 0 to 1; None draws one length only.
    """

    name: str
    text: str
    share: float
    part: float | None = None


@dataclass(frozen=True)
class ErrorChart:
    """Errors on a logarithmic axis.

    Attributes:
        bars: one a batch.
        limit: of them all, on the axis, 0 to 1.
        ticks: powers of ten, and where they are, 0 to 1.
        tolerance: the limit.
    """

    bars: tuple[Bar, ...]
    limit: float
    ticks: tuple[tuple[str, float], ...]
    tolerance: float


def operator_bars(graph: Graph) -> tuple[Bar, ...]:
    """Return ATen operators before and after, those that shrank most first; none where they were not counted."""
    counted = graph.operators or {}
    longest = max((max(pair) for pair in counted.values()), default=1)
    ordered = sorted(counted.items(), key=lambda item: (item[1][1] - item[1][0], -item[1][0], item[0]))
    return tuple(
        Bar(name, f"{before} → {after}", before / longest, after / longest) for name, (before, after) in ordered
    )


def count_bars(counts: Mapping[str, int]) -> tuple[Bar, ...]:
    """Return a bar for each kind, the most frequent first."""
    longest = max(counts.values(), default=1)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Bar(name, str(count), count / longest) for name, count in ordered)


def second_bars(seconds: Mapping[str, float]) -> tuple[Bar, ...]:
    """Return a bar for each step, in order."""
    longest = max(seconds.values(), default=1.0) or 1.0
    return tuple(Bar(step, f"{value:.2f} s", value / longest) for step, value in seconds.items())


def error_chart(parity: Parity) -> ErrorChart:
    """Return the largest error of each batch, or of the float32 graph that another precision was made from."""
    if parity.float32_error is not None:
        errors = [("float32 graph", parity.float32_error)]
    elif parity.batch_errors is not None:
        errors = [(f"batch {size}", error) for size, error in zip(parity.batches, parity.batch_errors, strict=True)]
    else:
        errors = [("all batches", parity.max_rel_error)]
    powers = [_power(value) for value in (parity.tolerance, *(error for _, error in errors))]
    first, last = floor(min(powers)) - 1, ceil(max(powers)) + 1
    steps = range(first, last + 1)
    return ErrorChart(
        bars=tuple(Bar(name, _error(error), _along(error, steps)) for name, error in errors),
        limit=_along(parity.tolerance, steps),
        ticks=tuple((f"1e{power}", (power - first) / (last - first)) for power in steps),
        tolerance=parity.tolerance,
    )


def _power(error: float) -> float:
    return max(log10(error), _LOWEST) if error > 0 else _LOWEST


def _along(error: float, steps: Sequence[int]) -> float:
    """Return where an error is on the axis; none at all is at its beginning."""
    return (_power(error) - steps[0]) / (steps[-1] - steps[0]) if error > 0 else 0.0


def _error(error: float) -> str:
    return f"{error:.1e}" if error > 0 else "exact"
