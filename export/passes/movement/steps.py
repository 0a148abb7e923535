"""Steps of a plan: data-movement operators with constant arguments, and their costs.

Costs are nanoseconds per image on one core, measured with ONNX Runtime 1.31 (fp32, 100,000 to 900,000 elements, Zen 4,
2026-11-26). They depend on the length of runs: elements that are contiguous in both the input and the output.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import prod
from typing import NamedTuple

import numpy as np

from export.passes.movement.index_map import IndexMap
from export.passes.movement.tables import Integers

COPY = 0.13
"""Cost per element of Slice, Split and Concat."""
GATHERED, TRANSPOSED = 0.17, 0.24
"""Costs per element of Gather and Transpose for long runs."""
RUN = 10.0
"""Minimum cost per run of Gather and Transpose; Slice costs half."""
MOVED_AXIS = 0.2
"""Cost per element of a Transpose that moves one axis and changes the last one."""
SCATTERED = 3.8
"""Cost per element of a Transpose that moves several axes and changes the last one."""
NODE, VIEW = 1000.0, 500.0
"""Costs per node, and per node that copies nothing; above the measured ones, as other runtimes have more overhead."""


class Reshape(NamedTuple):
    """Reshape to a shape."""

    shape: tuple[int, ...]


class Transpose(NamedTuple):
    """Permutation of the axes."""

    order: tuple[int, ...]


class Slice(NamedTuple):
    """Positions `starts` to `stops`, exclusive, of some axes."""

    axes: tuple[int, ...]
    starts: tuple[int, ...]
    stops: tuple[int, ...]


class Gather(NamedTuple):
    """Positions of an axis by constant indices: their shape, and their int64 values as bytes, which are hashable."""

    axis: int
    shape: tuple[int, ...]
    data: bytes

    @property
    def indices(self) -> Integers:
        """The indices."""
        return np.frombuffer(self.data, np.int64).reshape(self.shape)


Step = Reshape | Transpose | Slice | Gather
Plan = tuple[Step, ...]


def gather(axis: int, index: Integers) -> Gather:
    """Return the Gather with an array of indices."""
    return Gather(axis, index.shape, np.ascontiguousarray(index, np.int64).tobytes())


def shape_after(step: Step, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape after a step."""
    match step:
        case Reshape():
            return step.shape
        case Transpose():
            return tuple(shape[axis] for axis in step.order)
        case Slice():
            sizes = list(shape)
            for axis, start, stop in zip(*step, strict=True):
                sizes[axis] = stop - start
            return tuple(sizes)
        case Gather():
            return (*shape[: step.axis], *step.shape, *shape[step.axis + 1 :])


def map_after(step: Step, before: IndexMap) -> IndexMap:
    """Return the index map after a step."""
    match step:
        case Reshape():
            return before.reshape(step.shape)
        case Transpose():
            return before.transpose(step.order)
        case Slice():
            for axis, start, stop in zip(*step, strict=True):
                before = before.slice(axis, start, stop - start)
            return before
        case Gather():
            return before.take(step.axis, step.indices)


def follow(plan: Iterable[Step], before: IndexMap) -> IndexMap:
    """Return the index map after all steps of a plan."""
    for step in plan:
        before = map_after(step, before)
    return before


def cost_of(step: Step, shape: tuple[int, ...], images: int = 1) -> float:
    """Return the cost of a step in nanoseconds per image, for a shape with `images` images."""
    made = prod(shape_after(step, shape)) / images
    match step:
        case Reshape():
            return VIEW
        case Transpose():
            return NODE + made * transposition(step.order, shape)
        case Slice():
            return NODE + made * copy_of_part(_run(step, shape))
        case Gather():
            return NODE + made * max(GATHERED, RUN / prod(shape[step.axis + 1 :]))


def cost_of_plan(plan: Iterable[Step], shape: tuple[int, ...], images: int = 1) -> float:
    """Return the cost of all steps of a plan in nanoseconds per image."""
    total = 0.0
    for step in plan:
        total += cost_of(step, shape, images)
        shape = shape_after(step, shape)
    return total


def tidied(steps: Iterable[Step], shape: tuple[int, ...]) -> Plan:
    """Return the steps without no-ops, with consecutive Reshapes merged and Transposes of unit axes as Reshapes."""
    kept: list[Step] = []
    shapes = [shape]
    for step in steps:
        after = shape_after(step, shapes[-1])
        if isinstance(step, Transpose) and _is_a_view(step.order, shapes[-1]):
            step = Reshape(after)
        if isinstance(step, Reshape) and kept and isinstance(kept[-1], Reshape):
            kept.pop()
            shapes.pop()
        if not isinstance(step, Reshape) or after != shapes[-1]:
            kept.append(step)
            shapes.append(after)
    return tuple(kept)


def splits_of(plans: Iterable[Plan], source: tuple[int, ...]) -> dict[Plan, tuple[Slice, ...]]:
    """Return, by plan prefix, the Slices after it that partition an axis and can become one Split."""
    found: dict[Plan, dict[Slice, int]] = {}
    for plan in plans:
        shape = source
        for length, step in enumerate(plan):
            if isinstance(step, Slice) and len(step.axes) == 1:
                found.setdefault(plan[:length], {})[step] = shape[step.axes[0]]
            shape = shape_after(step, shape)
    splits = {}
    for prefix, sizes in found.items():
        ordered = sorted(sizes, key=lambda step: step.starts)
        whole = ordered[0].starts == (0,) and ordered[-1].stops == (sizes[ordered[-1]],)
        joined = all(one.stops == other.starts and one.axes == other.axes for one, other in pairwise(ordered))
        if len(ordered) > 1 and whole and joined:
            splits[prefix] = tuple(ordered)
    return splits


def _is_a_view(order: Sequence[int], shape: Sequence[int]) -> bool:
    kept = [axis for axis in order if shape[axis] > 1]
    return kept == sorted(kept)


def copy_of_part(run: int) -> float:
    """Return the cost per element of Slice, Split and Concat, for runs of `run` elements."""
    return COPY + RUN / 2 / run


def transposition(order: Sequence[int], shape: Sequence[int]) -> float:
    """Return the cost per element of a Transpose."""
    kept = [axis for axis in order if shape[axis] > 1]
    runs: list[list[int]] = []
    for axis in kept:
        if runs and axis > runs[-1][-1] and prod(shape[runs[-1][-1] + 1 : axis]) == 1:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    sizes = [prod(shape[axis] for axis in run) for run in runs]
    if len(runs) < 2:
        return TRANSPOSED
    places = sorted(range(len(runs)), key=lambda position: runs[position][0])
    if places[-1] == len(runs) - 1:
        return max(TRANSPOSED, RUN / sizes[-1])
    return MOVED_AXIS if _moves_one(places) else SCATTERED


def _moves_one(places: list[int]) -> bool:
    """Return whether a permutation moves only one axis."""
    without = ([other for other in places if other != place] for place in places)
    return any(left == sorted(left) for left in without)


def _run(step: Slice, shape: Sequence[int]) -> int:
    last = max(step.axes)
    position = step.axes.index(last)
    return prod(shape[last + 1 :]) * (step.stops[position] - step.starts[position])


def is_swap(plan: Plan) -> bool:
    """Return whether a plan is one Transpose of the last two axes, which runtimes fuse into a following MatMul."""
    if len(plan) != 1 or not isinstance(plan[0], Transpose) or len(plan[0].order) < 2:
        return False
    rank = len(plan[0].order)
    return plan[0].order == (*range(rank - 2), rank - 1, rank - 2)


def describe(plan: Plan) -> str:
    """Return the operators of a plan, in order."""
    return ", ".join(type(step).__name__ for step in plan) or "nothing"
