"""Constants of a finished graph that hold positions, found by what the graph does with them.

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

GOLDEN_IMAGES = 4
"""Rows and columns of the smallest constant that is taken for positions: scales of a channel are thinner. A bias may
have a single row: where nothing but the class token is read of a block, the graph holds no other."""

_ON_THE_WAY_TO_SOFTMAX = frozenset({"Add", "Cast", "Clip", "Div", "Expand", "Mul", "Reshape", "Transpose", "Where"})


@dataclass(frozen=True)
class PositionConstant:
    """A constant that says something of positions.

    Attributes:
        name: name of the initialiser.
        role: `bias` is added to scores [.., Nq, Nk]; `table` is multiplied with what depends on the image; `rotation`
            holds the cosines that turn queries and keys [N, d]; `embedding` is added to tokens [N, C].
        shape: as the graph holds it.
        windows: its numbers, [W or 1, H or 1, rows, columns].
        readers: how many nodes read it; layers with the same numbers share one constant.
        spans: windows that the tokens of an image are divided into, where the scores say so; of a bias.
    """

    name: str
    role: Role
    shape: tuple[int, ...]
    windows: np.ndarray[Any, Any]
    readers: int
    spans: int | None = None

    @property
    def shown(self) -> int:
        """The first window that is not zero, by its number; they differ by their masks."""
        return next((number for number, heads in enumerate(self.windows) if heads.any()), 0)

    @property
    def window(self) -> np.ndarray[Any, Any]:
        """The numbers of that window, [H or 1, rows, columns]."""
        found: np.ndarray[Any, Any] = self.windows[self.shown]
        return found


def find_constants(model: ir.Model) -> list[PositionConstant]:
    """Return the position constants of a float32 graph, each once, in the order in which the graph reads them."""
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
    """Yield what is added to scores, and the number of windows that these have for an image."""
    for softmax in model.graph:
        if softmax.op_type != "Softmax":
            continue
        waiting = [softmax.inputs[0]]
        seen: set[ir.Node] = set()
        while waiting:
            value = waiting.pop()
            node = None if value is None else value.producer()
            if node is None or node in seen or node.op_type not in _ON_THE_WAY_TO_SOFTMAX:
                continue
            seen.add(node)
            waiting.extend(node.inputs)
            for added in node.inputs if node.op_type == "Add" else ():
                if added is not None and is_constant(added) and _is_wide(added, fewest_rows=1):
                    yield added, _windows_of(softmax.inputs[0])


def _role(node: ir.Node, value: ir.Value) -> Role | None:
    """Return what a constant that is added to no scores is to the node that reads it."""
    if not _is_wide(value):
        return None
    array = array_of(value)
    if node.op_type == "Mul" and name_of(value).rpartition(".")[2] == "cos":
        return "rotation"
    if node.op_type == "MatMul" and array.ndim > 2:  # a layer's weight has two axes
        is_membership = bool(np.isin(array, (0, 1)).all())
        return None if is_membership else "table"
    if node.op_type == "Add" and prod(array.shape[:-2]) == 1:
        tokens = array.reshape(array.shape[-2:])
        # An embedding differs from token to token; extra tokens over one bias for all patches do not.
        return "embedding" if 2 * len(np.unique(tokens, axis=0)) >= len(tokens) else None
    return None


def _is_wide(value: ir.Value, fewest_rows: int = GOLDEN_IMAGES) -> bool:
    tensor = value.const_value
    if tensor is None or tensor.dtype != ir.DataType.FLOAT or len(tensor.shape) < 2:
        return False
    rows, columns = tensor.shape.numpy()[-2:]
    return rows >= fewest_rows and columns >= GOLDEN_IMAGES


def _windows_of(scores: ir.Value | None) -> int | None:
    """Return W of scores [batch·W, H, Nq, Nk] or [batch, W, H, Nq, Nk]; None if the shape does not tell."""
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
