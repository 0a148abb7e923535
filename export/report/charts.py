"""Bar charts of the page: operators, nodes, seconds and parity."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from artifact import Graph, Parity

_LOWEST = -12
"""Power of ten at which the error axis begins at the latest."""


@dataclass(frozen=True)
class Bar:
    """One bar of a chart.

    Attributes:
        name: label.
        text: formatted value.
        share: length, 0 to 1.
        part: length of a second bar inside the first, 0 to 1; None for one bar.
    """

    name: str
    text: str
    share: float
    part: float | None = None


@dataclass(frozen=True)
class ErrorChart:
    """Errors on a logarithmic axis.

    Attributes:
        bars: error of each batch size.
        limit: position of the limit on the axis, 0 to 1.
        ticks: powers of ten and their positions on the axis, 0 to 1.
        tolerance: limit on the error.
    """

    bars: tuple[Bar, ...]
    limit: float
    ticks: tuple[tuple[str, float], ...]
    tolerance: float


def operator_bars(graph: Graph) -> tuple[Bar, ...]:
    """Return the counts of ATen operators before and after, the largest reduction first; none if not counted."""
    counted = graph.operators or {}
    longest = max((max(pair) for pair in counted.values()), default=1)
    ordered = sorted(counted.items(), key=lambda item: (item[1][1] - item[1][0], -item[1][0], item[0]))
    return tuple(
        Bar(name, f"{before} → {after}", before / longest, after / longest) for name, (before, after) in ordered
    )


def count_bars(counts: Mapping[str, int]) -> tuple[Bar, ...]:
    """Return a bar for each operator, the most frequent first."""
    longest = max(counts.values(), default=1)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Bar(name, str(count), count / longest) for name, count in ordered)


def second_bars(seconds: Mapping[str, float]) -> tuple[Bar, ...]:
    """Return a bar for each step, in order."""
    longest = max(seconds.values(), default=1.0) or 1.0
    return tuple(Bar(step, f"{value:.2f} s", value / longest) for step, value in seconds.items())


def error_chart(parity: Parity) -> ErrorChart:
    """Return the largest error of each batch size; for other precisions than fp32, that of the float32 graph."""
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
        bars=tuple(Bar(name, f"{error:.1e}" if error > 0 else "exact", _along(error, steps)) for name, error in errors),
        limit=_along(parity.tolerance, steps),
        ticks=tuple((f"1e{power}", (power - first) / (last - first)) for power in steps),
        tolerance=parity.tolerance,
    )


def _power(error: float) -> float:
    return max(log10(error), _LOWEST) if error > 0 else _LOWEST


def _along(error: float, steps: Sequence[int]) -> float:
    """Return the position of an error on the axis, 0 to 1."""
    return (_power(error) - steps[0]) / (steps[-1] - steps[0]) if error > 0 else 0.0
