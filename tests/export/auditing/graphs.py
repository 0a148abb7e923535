"""Small models in ONNX's text form, and the findings of one check."""

import onnx
import onnx_ir as ir

from export.auditing import Finding, audit


def parse(body: str, inputs: str = "float[N,4] x", outputs: str = "float[N,4] y", opset: int = 20) -> ir.Model:
    """Return a model of one graph; `body` may begin with initialisers in <…>."""
    return parse_model(f'<ir_version: 10, opset_import: ["" : {opset}]> g ({inputs}) => ({outputs}) {body}')


def parse_model(text: str) -> ir.Model:
    """Return the model of a complete text."""
    return ir.from_proto(onnx.parser.parse_model(text))


def found(model: ir.Model, check: str, tensorrt: str | None = None) -> list[Finding]:
    """Return the findings of one check, including those of severity info."""
    return list(audit(model, tensorrt=tensorrt).of(check))


def ops(findings: list[Finding]) -> list[str | None]:
    """Return the operators of the nodes that findings are about."""
    return [finding.op for finding in findings]


CLEAN = "<float[4] w = {1, 2, 3, 4}> { a = Add(x, w) y = Relu(a) }"
