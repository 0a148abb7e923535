"""Restrictions of operators in the support table's notation, and their checks.

To add a kind of restriction, add a function and an entry in `KINDS` here. A rule yields violations; unknown ranks and
types are reported as unknown.
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
    """Return the name of a dtype in the support table (FP32, INT64), or ONNX's name for other dtypes."""
    return _TYPES.get(dtype, dtype.name)


def dtype_of(value: ir.Value) -> ir.DataType | None:
    """Return the dtype of a value; None if unknown."""
    if value.dtype is None and value.const_value is not None:
        return value.const_value.dtype
    return value.dtype


Origins = Mapping[ir.Value, Origin]
"""Origin of each value of a model."""


class Violation(NamedTuple):
    """Violated restriction; `certain` is False if the model does not contain the facts to decide."""

    found: str
    certain: bool = True


class Rule(BaseModel):
    """Restriction of an operator.

    Attributes:
        rule: kind of the rule, a key of `KINDS`.
        attribute: name of the attribute.
        inputs, outputs: positions of inputs or outputs; optional ones may be absent from a node.
        allowed: allowed values of the attribute, or of each element of a list.
        ranks: allowed ranks.
        types: allowed types, by their names in the table.
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
    def _fields_of_kind(self) -> "Rule":
        kind = KINDS.get(self.rule)
        if kind is None:
            raise ValueError(f"unknown rule {self.rule!r}; known: {', '.join(KINDS)}")
        if self.model_fields_set != {"rule", *kind.fields}:
            raise ValueError(f"{self.rule} must have the fields {', '.join(kind.fields)}")
        return self

    def check(self, node: ir.Node, origins: Origins) -> Iterator[Violation]:
        """Yield the violations of a node."""
        kind = KINDS[self.rule]
        if kind.fields[0] == "attribute":
            given = node.attributes.get(self.attribute)
            if given is not None:
                yield from kind.violations(self, self.attribute, given, origins)
            return
        side, values, chosen = kind.fields[0].removesuffix("s"), node.inputs, self.inputs
        if side == "output":
            values, chosen = node.outputs, self.outputs
        for index in chosen:
            value = values[index] if index < len(values) else None
            if value is not None:
                yield from kind.violations(self, f"{side} {index} ({value.name})", value, origins)


def _attribute_in(rule: Rule, what: str, given: Any, _: Origins) -> Iterator[Violation]:  # noqa: ANN401 -- an attribute
    if given.is_ref():
        yield Violation(f"{what} is an argument of the function; its value is unknown", certain=False)
        return
    values = given.value if isinstance(given.value, (list, tuple)) else [given.value]
    if not set(values) <= set(rule.allowed):
        yield Violation(f"{what} is {given.value}, supported: {', '.join(map(str, rule.allowed))}")


def _attribute_absent(_: Rule, what: str, _given: object, _origins: Origins) -> Iterator[Violation]:
    yield Violation(f"attribute {what} is not supported")


def _input_absent(_: Rule, what: str, _value: ir.Value, _origins: Origins) -> Iterator[Violation]:
    yield Violation(f"{what} is not supported")


def _input_constant(_: Rule, what: str, value: ir.Value, origins: Origins) -> Iterator[Violation]:
    if origins.get(value, Origin.DATA) is not Origin.CONSTANT:
        yield Violation(f"{what} is not constant")


def _input_zero(_: Rule, what: str, value: ir.Value, origins: Origins) -> Iterator[Violation]:
    """Check zero points and training modes."""
    tensor = ir.convenience.get_const_tensor(value)
    if tensor is not None:
        if tensor.numpy().any():
            yield Violation(f"{what} is not zero")
    elif origins.get(value) is Origin.CONSTANT:
        yield Violation(f"{what} must be zero; its value is unknown", certain=False)
    else:
        yield Violation(f"{what} must be constant and zero")


def _input_rank(rule: Rule, what: str, value: ir.Value, _: Origins) -> Iterator[Violation]:
    wanted = " or ".join(map(str, rule.ranks))
    if value.shape is None:
        yield Violation(f"{what} must have {wanted} dimensions; its rank is unknown", certain=False)
    elif len(value.shape) not in rule.ranks:
        yield Violation(f"{what} has {len(value.shape)} dimensions, supported: {wanted}")


def _output_absent(_: Rule, what: str, output: ir.Value, _origins: Origins) -> Iterator[Violation]:
    """Check optional outputs, which must not be read."""
    if output.uses() or output.is_graph_output():
        yield Violation(f"{what} is not supported")


def _of_type(rule: Rule, what: str, value: ir.Value, _: Origins) -> Iterator[Violation]:
    dtype = dtype_of(value)
    if dtype is None:
        yield Violation(f"{what} must be {' or '.join(rule.types)}; its type is unknown", certain=False)
    elif type_name(dtype) not in rule.types:
        yield Violation(f"{what} is {type_name(dtype)}, supported: {', '.join(rule.types)}")


class _Kind(NamedTuple):
    """Kind of rule: its fields, the first of which selects the checked part of a node, and its check."""

    fields: tuple[str, ...]
    violations: Callable[[Rule, str, Any, Origins], Iterator[Violation]]


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
"""Kinds of rules, by their names in the table."""
