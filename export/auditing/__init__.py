"""Audit of ONNX graphs from any exporter: constant subgraphs, duplicates, TensorRT support."""

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
"""Checks in the order of execution and of the findings. To add a check, add a function and a line here."""


def audit(
    model: ir.Model, *, tensorrt: str | None = None, checks: Collection[str] = CHECKS, in_place: bool = False
) -> Audit:
    """Run checks of `CHECKS` on a model, which is not modified unless `in_place`.

    Args:
        model: the model, as returned by `load_model` or from memory.
        tensorrt: TensorRT version as `major.minor`; None means that of the support table.
        checks: names of the checks to run; default: all.
        in_place: True writes inferred types into the model instead of a copy.

    Raises:
        UnreadableModelError: external data cannot be read.
        ValueError: the support table does not cover the TensorRT version.
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
