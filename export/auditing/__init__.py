"""Audit of an ONNX graph of any exporter: constant subgraphs, duplicates, TensorRT support."""

from collections.abc import Callable, Collection, Iterator

import onnx_ir as ir

from export.auditing import checks as general
from export.auditing import tensorrt as trt
from export.auditing.findings import Audit, Finding
from export.auditing.reading import Subject, load_model, make_subject
from export.auditing.support import load_support
from export.process.errors import UnreadableModelError

CHECKS: dict[str, Callable[[Subject], Iterator[Finding]]] = {
    "constant-only": general.check_constant_only,
    "shape-arithmetic": general.check_shape_arithmetic,
    "dimensions": general.check_dimensions,
    "opset": trt.check_opsets,
    "operator": trt.check_operators,
    "type": trt.check_types,
    "restriction": trt.check_restrictions,
    "domain": general.check_domains,
    "duplicate": general.check_duplicates,
    "float64": general.check_float64,
    "unused": general.check_unused,
}
"""Checks in the order of their execution and findings; a new check is a function and a line here."""


def audit(
    model: ir.Model, *, tensorrt: str | None = None, checks: Collection[str] = CHECKS, in_place: bool = False
) -> Audit:
    """Run checks of `CHECKS` on a model, which is not modified unless `in_place`.

    Args:
        model: as read by `load_model`, or as built.
        tensorrt: `major.minor`; None takes the version of the support table.
        checks: names of checks to run; all by default.
        in_place: write inferred types into the model, because a copy of a large model takes long.

    Raises:
        UnreadableModelError: external data cannot be read.
        ValueError: the support table does not cover that TensorRT.
    """
    support = load_support()
    subject = make_subject(model, support.check_version(tensorrt or support.tensorrt), support, in_place=in_place)
    made = {name: check for name, check in CHECKS.items() if name in checks}
    findings = tuple(
        finding.model_copy(update={"check": name}) for name, check in made.items() for finding in check(subject)
    )
    return Audit(
        opsets=dict(model.opset_imports),
        nodes=len(subject.nodes),
        tensorrt=subject.tensorrt,
        checks=tuple(made),
        findings=findings,
    )


__all__ = ["CHECKS", "Audit", "Finding", "UnreadableModelError", "audit", "load_model", "load_support"]
