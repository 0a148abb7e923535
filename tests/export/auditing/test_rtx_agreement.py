"""The support table, compared with TensorRT-RTX's parser and builder for each operator and type.

The table is deliberately stricter about INT8 and UINT8: TensorRT 10's documentation allows INT8 as quantised floats
only, and UINT8 at inputs and outputs only.
"""

import re
from collections.abc import Callable
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest

from engines import EngineError
from engines.build import parse_graph
from export.auditing import audit
from tests.engines.rtx import build, rtx_or_skip
from tests.export.auditing.cases import CASES, TYPES, Case

pytestmark = [pytest.mark.rtx, pytest.mark.slow]

STRICTER = {"INT8", "UINT8"}
NOT_BUILT = {("Attention", "FP32")}
"""Accepted by the parser without a kernel in RTX 1.7; TensorRT 10, which the table describes, has one."""


def model_of(case: Case, dtype: str) -> onnx.ModelProto | None:
    """Return the graph; None if ONNX does not define the operator for the type."""
    inputs, outputs, body = (re.sub(r"\bT\b", dtype, text) for text in case[:3])
    head = f'<ir_version: 10, opset_import: ["" : {case.opset}]>'
    model = onnx.parser.parse_model(f"{head} g ({inputs}) => ({outputs}) {body}")
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
        return None
    return model


def can_be_built(model: onnx.ModelProto) -> bool:
    """Return whether every input begins with the batch, as the profile requires."""
    shapes = [tensor.type.tensor_type.shape.dim for tensor in model.graph.input]
    return all(shape and shape[0].dim_param for shape in shapes)


@pytest.mark.parametrize("operator", CASES)
def test_parser_and_builder_agree_with_the_table(operator: str, tmp_path: Path) -> None:
    library = rtx_or_skip()
    tried = 0
    for dtype, name in TYPES.items():
        model = model_of(CASES[operator], dtype)
        if model is None:
            continue
        tried += 1
        onnx.save(model, tmp_path / "model.onnx")
        errors = [finding.found for finding in audit(ir.from_proto(model)).findings if finding.severity == "error"]
        refusal = failure_of(lambda file: parse_graph(library, file), tmp_path / "model.onnx")
        if refusal is not None:
            assert errors, f"{name}: the table allows what the parser refuses: {refusal}"
        elif errors:
            assert name in STRICTER, f"{name}: the parser accepts what the table excludes: {errors}"
        elif can_be_built(model):
            failure = failure_of(build, tmp_path / "model.onnx")
            assert (failure is not None) == ((operator, name) in NOT_BUILT), (
                f"{name}: {failure or 'it builds, although NOT_BUILT lists it'}"
            )
    assert tried


def failure_of(attempt: Callable[[Path], object], file: Path) -> str | None:
    try:
        attempt(file)
    except EngineError as error:
        return str(error)
    return None
