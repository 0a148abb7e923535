"""Position constants of an exported graph, identified by the nodes that read them.

Shapes: H heads, W windows, N tokens (Nq queries, Nk keys), d head width, C model width, R buckets.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np
import onnx_ir as ir

from export.passes.values import array_of, is_constant, name_of

Role = Literal["bias", "table", "rotation", "embedding"]

MIN_SIDE = 4
"""Minimum number of rows and columns of a position constant, which excludes scales of channels. A bias may have one
row, in a block of which only the class token is read."""

_BEFORE_SOFTMAX = frozenset({"Add", "Cast", "Clip", "Div", "Expand", "Mul", "Reshape", "Transpose", "Where"})
"""Operators between scores and softmax."""


@dataclass(frozen=True)
class PositionConstant:
    """A position constant.

    Attributes:
        name: name of the initialiser.
        role: `bias` is added to scores [.., Nq, Nk]; `table` is multiplied by image-dependent values; `rotation` has
            the cosines of rotary embeddings [N, d]; `embedding` is added to tokens [N, C].
        shape: shape in the graph.
        windows: values, [W or 1, H or 1, rows, columns].
        readers: number of nodes that read it; layers with equal values share one constant.
        spans: number of windows per image, for a bias, if the shape of the scores shows it.
    """

    name: str
    role: Role
    shape: tuple[int, ...]
    windows: np.ndarray[Any, Any]
    readers: int
    spans: int | None = None

    @property
    def shown(self) -> int:
        """Index of the first window that is not zero; windows differ in their masks."""
        return next((number for number, heads in enumerate(self.windows) if heads.any()), 0)

    @property
    def window(self) -> np.ndarray[Any, Any]:
        """Values of the window `shown`, [H or 1, rows, columns]."""
        found: np.ndarray[Any, Any] = self.windows[self.shown]
        return found


def find_constants(model: ir.Model) -> list[PositionConstant]:
    """Return the position constants of a float32 graph without duplicates, in the order in which they are read."""
    biases = dict(_biases(model))
    found: dict[str, PositionConstant] = {}
    for node in model.graph:
        for value in node.inputs:
            if value is None or not is_constant(value) or name_of(value) in found:
                continue
            role = "bias" if value in biases else _role(node, value)
            if role is not None:
                found[name_of(value)] = _described(value, role, biases.get(value))
    return list(found.values())


def _biases(model: ir.Model) -> Iterator[tuple[ir.Value, int | None]]:
    """Yield the constants that are added to scores, and the number of windows per image."""
    for softmax in model.graph:
        if softmax.op_type != "Softmax":
            continue
        waiting = [softmax.inputs[0]]
        seen: set[ir.Node] = set()
        while waiting:
            value = waiting.pop()
            node = None if value is None else value.producer()
            if node is None or node in seen or node.op_type not in _BEFORE_SOFTMAX:
                continue
            seen.add(node)
            waiting.extend(node.inputs)
            for added in node.inputs if node.op_type == "Add" else ():
                if added is not None and is_constant(added) and _is_wide(added, fewest_rows=1):
                    yield added, _windows_of(softmax.inputs[0])


def _role(node: ir.Node, value: ir.Value) -> Role | None:
    """Return the role of a constant, other than a bias, for a node that reads it; None if it has none."""
    if not _is_wide(value):
        return None
    array = array_of(value)
    if node.op_type == "Mul" and name_of(value).rpartition(".")[2] == "cos":
        return "rotation"
    if node.op_type == "MatMul" and array.ndim > 2:  # weights of layers have two axes
        is_one_hot = bool(np.isin(array, (0, 1)).all())
        return None if is_one_hot else "table"
    if node.op_type == "Add" and prod(array.shape[:-2]) == 1:
        tokens = array.reshape(array.shape[-2:])
        # Rows of an embedding are distinct; those of prefix tokens and one bias for all patches are mostly equal.
        return "embedding" if 2 * len(np.unique(tokens, axis=0)) >= len(tokens) else None
    return None


def _is_wide(value: ir.Value, fewest_rows: int = MIN_SIDE) -> bool:
    tensor = value.const_value
    if tensor is None or tensor.dtype != ir.DataType.FLOAT or len(tensor.shape) < 2:
        return False
    rows, columns = tensor.shape.numpy()[-2:]
    return rows >= fewest_rows and columns >= MIN_SIDE


def _windows_of(scores: ir.Value | None) -> int | None:
    """Return W of scores [batch·W, H, Nq, Nk] or [batch, W, H, Nq, Nk]; None for other shapes."""
    if scores is None or scores.shape is None or len(scores.shape) < 4:
        return None
    batch, *others = (str(getattr(size, "value", size)) for size in scores.shape[:-3])
    symbolic = re.fullmatch(r"(?:(\d+)\*)?[A-Za-z_]\w*", batch)
    if symbolic is None or not all(other.isdigit() for other in others):
        return None
    return int(symbolic[1] or 1) * prod(map(int, others))


def _described(value: ir.Value, role: Role, spans: int | None) -> PositionConstant:
    array = array_of(value)
    *leading, rows, columns = array.shape
    heads = leading[-1] if leading else 1
    return PositionConstant(
        name=name_of(value),
        role=role,
        shape=tuple(array.shape),
        windows=array.reshape(-1, heads, rows, columns),
        readers=len(value.uses()),
        spans=spans,
    )
