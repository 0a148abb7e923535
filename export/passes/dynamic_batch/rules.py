"""Rules, by operator, that replace a size that stands for the batch by a form that does not contain it."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from export.passes.dynamic_batch.place import Place
from export.passes.dynamic_batch.repeat import free_periodic, repeat
from export.passes.operators import BROADCAST
from export.passes.values import array_of, is_constant, sizes_of

_TO_THE_END = np.iinfo(np.int64).max


def names_the_batch(place: Place) -> bool:
    """Return whether a constant has the batch's size, or holds it where its numbers are sizes."""
    if any(place.is_batch(size) for size in place.array.shape):
        return True
    if (place.node.op_type, place.position) == ("Slice", 2):  # an end may be any number, unless it is the batch's
        ends = place.array.tolist()
        return any(
            place.is_batch(end) and place.is_batch(size) for end, size in zip(ends, _sliced_sizes(place), strict=True)
        )
    holds_sizes = (place.node.op_type, place.position) in _SIZES
    return holds_sizes and any(place.is_batch(int(size)) for size in place.array.reshape(-1))


def free(place: Place) -> bool:
    """Rewrite a node so that it accepts any batch; return whether that was possible."""
    if place.node.op_type in BROADCAST:
        return free_periodic(place) or repeat(place)
    rule = _RULES.get((place.node.op_type, place.position))
    if (place.node.op_type, place.position) in _SIZES:
        return rule is not None and rule(place)
    return (rule is not None and rule(place)) or repeat(place)


def _reshape(place: Place) -> bool:
    """Let Reshape infer the one size that is a multiple of the batch."""
    sizes = sizes_of(place.node.outputs[0])
    if sizes is None or sum(map(place.is_batch, sizes)) != 1:
        return False
    place.put([-1 if place.is_batch(size) else size for size in sizes])
    return True


def _expand(place: Place) -> bool:
    """Ask for 1 where the batch is already there."""
    wanted, source = place.array.tolist(), sizes_of(place.node.inputs[0])
    if source is None:
        return False
    there = (*(1 for _ in range(len(wanted) - len(source))), *source)
    if any(place.is_batch(size) and there[axis - len(wanted)] != size for axis, size in enumerate(wanted)):
        return False
    place.put([1 if place.is_batch(size) else size for size in wanted])
    return True


def _slice_end(place: Place) -> bool:
    """Slice to the end of the axis."""
    ends = place.array.tolist()
    along = _sliced_sizes(place)
    if any(place.is_batch(end) and place.is_batch(size) and end < size for end, size in zip(ends, along, strict=True)):
        return False
    whole = [place.is_batch(end) and place.is_batch(size) for end, size in zip(ends, along, strict=True)]
    place.put([_TO_THE_END if all_of_it else end for end, all_of_it in zip(ends, whole, strict=True)])
    return True


def _sliced_sizes(place: Place) -> list[int]:
    """Return the sizes of the axes that are sliced."""
    sizes = sizes_of(place.node.inputs[0])
    axes = place.node.inputs[3] if len(place.node.inputs) > 3 else None
    assert sizes is not None, "all sizes are known while the batch is a number"
    assert axes is None or is_constant(axes), "torch.onnx gives axes as constants"
    which = range(len(place.array)) if axes is None else array_of(axes).tolist()
    return [sizes[axis] for axis in which]


def _resize_sizes(place: Place) -> bool:
    """Ask for factors in place of sizes, or else for the sizes of the axes after the first two."""
    sizes, before = place.array.tolist(), sizes_of(place.node.inputs[0])
    if (
        before is None
        or any(map(place.is_batch, sizes[1:]))
        or place.node.attributes.get_ints("axes", None) is not None
    ):
        return False
    factors = np.asarray(sizes, dtype=np.float32) / np.asarray(before, dtype=np.float32)
    if (np.floor(factors * np.asarray(before, dtype=np.float32)) == sizes).all():
        # After a Transpose, ONNX Runtime's optimiser permutes `sizes` as if there were no `axes`.
        place.node.replace_input_with(2, place.constant(factors))
        place.node.resize_inputs(3)
    else:
        place.node.attributes.add(ir.AttrInt64s("axes", list(range(2, len(sizes)))))
        place.put(sizes[2:])
    return True


_RULES: dict[tuple[str, int], Callable[[Place], bool]] = {
    ("Expand", 1): _expand,
    ("Reshape", 1): _reshape,
    ("Resize", 3): _resize_sizes,
    ("Slice", 2): _slice_end,
}
"""Rules by operator and position of the input."""

_SIZES = {
    ("ConstantOfShape", 0),
    ("Expand", 1),
    ("Pad", 1),
    ("Range", 1),
    ("Reshape", 1),
    ("Resize", 3),
    ("Slice", 2),
    ("Split", 1),
    ("Tile", 1),
}
"""Inputs whose numbers are sizes or counts, by operator and position."""
