"""What in an ONNX graph is left to compute, stored twice, or not for TensorRT. Any file, whoever exported it."""

import onnx_ir as ir

from export.auditing.checks import CHECKS
from export.auditing.errors import UnreadableModelError
from export.auditing.findings import Audit, Finding
from export.auditing.reading import load_model
from export.auditing.subject import make_subject
from export.auditing.support import load_support


def audit(model: ir.Model, *, tensorrt: str | None = None, in_place: bool = False) -> Audit:
    """Make all checks of `CHECKS` on a model, which is left as it is unless `in_place`.

    Args:
        model: as read by `load_model`, or as built.
        tensorrt: `major.minor`; None takes the version of the support table.
        in_place: write types that can be inferred into the model; of large ones, a copy takes long.

    Raises:
        UnreadableModelError: data that the model keeps in another file cannot be read.
        ValueError: the support table does not know that TensorRT.
    """
    support = load_support()
    subject = make_subject(model, support.check_version(tensorrt or support.tensorrt), support, in_place=in_place)
    findings = tuple(
        Finding(check=name, **remark.model_dump()) for name, check in CHECKS.items() for remark in check(subject)
    )
    return Audit(
        opsets=dict(model.opset_imports),
        nodes=len(subject.nodes),
        tensorrt=subject.tensorrt,
        checks=tuple(CHECKS),
        findings=findings,
    )


__all__ = ["CHECKS", "Audit", "Finding", "UnreadableModelError", "audit", "load_model", "load_support"]
