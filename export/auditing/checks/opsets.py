"""The version of the standard domain, against what TensorRT's parser takes."""

from collections.abc import Iterator

from export.auditing.findings import Remark
from export.auditing.origins import STANDARD
from export.auditing.subject import Subject


def check_opsets(subject: Subject) -> Iterator[Remark]:
    """Yield an error for an opset that the table rules out, a warning for one it does not speak of."""
    support, model = subject.support, subject.model
    users = [("the model", model.opset_imports)]
    users += [(f"function {body.name}", body.opset_imports) for body in model.functions.values()]
    for user, imports in users:
        for opset in sorted({version for domain, version in imports.items() if domain in STANDARD}):
            newest = support.opset_max[support.tensorrt]
            known, last = support.last_opset(subject.tensorrt)
            if opset < support.opset_min:
                yield Remark(
                    severity="error",
                    found=f"{user} is of opset {opset}, TensorRT takes {support.opset_min} and later",
                    remedy="export again, or convert with onnx.version_converter",
                )
            elif opset > newest or (opset > last and known == subject.tensorrt):
                version, limit = (support.tensorrt, newest) if opset > newest else (known, last)
                yield Remark(
                    severity="error",
                    found=f"{user} is of opset {opset}, TensorRT {version} takes up to {limit}",
                    remedy=f"export with opset {last} or earlier, or use a newer TensorRT",
                )
            elif opset > last:
                yield Remark(
                    severity="warning",
                    found=f"{user} is of opset {opset}; the table knows that TensorRT {known} takes up to {last}, and "
                    f"{support.tensorrt} up to {newest}, but not what {subject.tensorrt} takes",
                    remedy=f"export with opset {last} or earlier, or try it",
                )
