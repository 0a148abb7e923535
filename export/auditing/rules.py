"""Restrictions of operators that a graph can be checked against, in the support table's notation.

A new kind of restriction is a function here and an entry in `KINDS`. A rule yields violations; unknown facts of a model
(a rank or type) are reported as unknown, never assumed to be right.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import onnx_ir as ir
from pydantic import BaseModel, ConfigDict, model_validator

from export.passes.origins import Origin

_TYPES = {
    ir.DataType.FLOAT: "FP32",
    ir.DataType.FLOAT16: "FP16",
    ir.DataType.BFLOAT16: "BF16",
    ir.DataType.FLOAT8E4M3FN: "FP8",
    ir.DataType.FLOAT4E2M1: "FP4",
}


def type_name(dtype: ir.DataType) -> str:
    """Return a type's name in the support table (FP32, INT64), or ONNX's name for other types."""
    return _TYPES.get(dtype, dtype.name)


def dtype_of(value: ir.Value) -> ir.DataType | None:
    """Return the type of a value's elements, or None if unknown."""
    if value.dtype is None and value.const_value is not None:
        return value.const_value.dtype
    return value.dtype


class TracedNode(NamedTuple):
    """Node, with the origins of its values."""

    node: ir.Node
    origins: Mapping[ir.Value, Origin]


class Broken(NamedTuple):
    """Violated restriction; `certain` is False if the model is not specific enough to decide."""

    found: str
    certain: bool = True


class Rule(BaseModel):
    """Restriction of an operator.

    Attributes:
        rule: its kind, a key of `KINDS`.
        attribute: name of the attribute.
        inputs, outputs: their positions; optional ones may be absent from a node.
        allowed: values of the attribute; if it is a list, of each of its elements.
        ranks: numbers of dimensions.
        types: types, in the table's names.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: str
    attribute: str = ""
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    allowed: tuple[int | str, ...] = ()
    ranks: tuple[int, ...] = ()
    types: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> "Rule":
        kind = KINDS.get(self.rule)
        if kind is None:
            raise ValueError(f"unknown rule {self.rule!r}; known: {', '.join(KINDS)}")
        if self.model_fields_set != {"rule", *kind.fields}:
            raise ValueError(f"{self.rule} has {', '.join(kind.fields)}")
        return self

    def check(self, place: TracedNode) -> Iterator[Broken]:
        """Yield the violations of a node."""
        kind, node = KINDS[self.rule], place.node
        if kind.fields[0] == "attribute":
            given = node.attributes.get(self.attribute)
            if given is not None:
                yield from kind.broken(self, self.attribute, given, place.origins)
            return
        side, values, chosen = kind.fields[0].removesuffix("s"), node.inputs, self.inputs
        if side == "output":
            values, chosen = node.outputs, self.outputs
        for index in chosen:
            value = values[index] if index < len(values) else None
            if value is not None:
                yield from kind.broken(self, f"{side} {index} ({value.name})", value, place.origins)


Origins = Mapping[ir.Value, Origin]


def _attribute_in(rule: Rule, what: str, given: Any, _: Origins) -> Iterator[Broken]:  # noqa: ANN401 -- an attribute
    if given.is_ref():
        yield Broken(f"{what} is an argument of the function, its value is not known here", certain=False)
        return
    values = given.value if isinstance(given.value, (list, tuple)) else [given.value]
    if not set(values) <= set(rule.allowed):
        yield Broken(f"{what} is {given.value}, supported: {', '.join(map(str, rule.allowed))}")


def _attribute_absent(_: Rule, what: str, _given: object, _origins: Origins) -> Iterator[Broken]:
    yield Broken(f"attribute {what} is not supported")


def _input_absent(_: Rule, what: str, _value: ir.Value, _origins: Origins) -> Iterator[Broken]:
    yield Broken(f"{what} is not supported")


def _input_constant(_: Rule, what: str, value: ir.Value, origins: Origins) -> Iterator[Broken]:
    if origins.get(value, Origin.DATA) is not Origin.CONSTANT:
        yield Broken(f"{what} is not constant")


def _input_zero(_: Rule, what: str, value: ir.Value, origins: Origins) -> Iterator[Broken]:
    """Zero points, a training mode that is off."""
    tensor = ir.convenience.get_const_tensor(value)
    if tensor is not None:
        if tensor.numpy().any():
            yield Broken(f"{what} is not zero")
    elif origins.get(value) is Origin.CONSTANT:
        yield Broken(f"{what} must be zero and is still to be computed", certain=False)
    else:
        yield Broken(f"{what} is not constant, and must be zero")


def _input_rank(rule: Rule, what: str, value: ir.Value, _: Origins) -> Iterator[Broken]:
    wanted = " or ".join(map(str, rule.ranks))
    if value.shape is None:
        yield Broken(f"{what} must have {wanted} dimensions, not known here", certain=False)
    elif len(value.shape) not in rule.ranks:
        yield Broken(f"{what} has {len(value.shape)} dimensions, supported: {wanted}")


def _output_absent(_: Rule, what: str, output: ir.Value, _origins: Origins) -> Iterator[Broken]:
    """A node may name an output that nothing reads."""
    if output.uses() or output.is_graph_output():
        yield Broken(f"{what} is not supported")


def _of_type(rule: Rule, what: str, value: ir.Value, _: Origins) -> Iterator[Broken]:
    dtype = dtype_of(value)
    if dtype is None:
        yield Broken(f"{what} must be {' or '.join(rule.types)}, its type is not known here", certain=False)
    elif type_name(dtype) not in rule.types:
        yield Broken(f"{what} is {type_name(dtype)}, supported: {', '.join(rule.types)}")


class _Kind(NamedTuple):
    """Fields of a kind of rule, the first naming what is checked, and the function that yields its violations."""

    fields: tuple[str, ...]
    broken: Callable[[Rule, str, Any, Origins], Iterator[Broken]]


KINDS: Mapping[str, _Kind] = {
    "attribute-in": _Kind(("attribute", "allowed"), _attribute_in),
    "attribute-absent": _Kind(("attribute",), _attribute_absent),
    "input-absent": _Kind(("inputs",), _input_absent),
    "input-constant": _Kind(("inputs",), _input_constant),
    "input-zero": _Kind(("inputs",), _input_zero),
    "input-rank": _Kind(("inputs", "ranks"), _input_rank),
    "input-type": _Kind(("inputs", "types"), _of_type),
    "output-absent": _Kind(("outputs",), _output_absent),
    "output-type": _Kind(("outputs", "types"), _of_type),
}
"""Kinds of rules by their names in the table."""
