"""Targets of `--target`: requirements on a graph, and the measurements behind them.

Equivalent forms of a graph were compared on 2026-11-26 (ONNX Runtime 1.31, OpenVINO 2026.4 in float32, 2 busy cores of
an AMD EPYC; Swin-T, ViT-S and GCViT-xxtiny with random weights, batches 1 and 8). The table shows the median CPU time
of the exported graph over that of the other form: the minimum and maximum over networks and batches. GCViT at batch 1
in ONNX Runtime was too noisy and is omitted; differences below 4 % are not significant.

| form | ONNX Runtime | OpenVINO |
| --- | --- | --- |
| separate products for q, k and v | 0.97 to 1.03 | 0.99 to 1.04 |
| `Attention` of opset 23 on [B, H, N, d] | 0.97 to 1.05 | 0.97 to 1.00 |
| `Attention` of opset 23 on [B, N, H·d] | 1.00 to 1.03 | 0.99 to 1.01 |
| movement costs that favour Gather | 0.99 to 1.01 | 0.98 to 1.01 |
| movement costs that favour Transpose | 0.99 to 1.03 | 0.98 to 1.02 |

On these CPUs no form is consistently faster (1.05 is GCViT at batch 8, where ViT-S and Swin-T lose 3 %).
`python -m benchmarks.targets` repeats the measurement.

On a GPU (H200, ONNX Runtime, fp16; `python -m benchmarks.gpu.forms`), `Attention` on [B, N, H·d] is 1.01 times as fast
in ViT-S at batch 1, 1.23 at 8 and 1.31 at 32, and on [B, H, N, d] 0.60 to 0.95 in Swin-T, whose scores have a bias.
Therefore the target onnxruntime has `Attention` where scores have no bias, if the graph has opset 23, in which it was
defined. The other targets have the portable graph and differ only in the checks.

Other forms of int8 graphs are not faster either (`python -m benchmarks.int8_parts`: Swin-T and ViT-S in OpenVINO, other
operators in bfloat16; two runs of the same graph: 0.96 and 1.01): 0.96 and 1.03 with q, k and v in int8, 0.93 and 0.98
with the output of attention quantised before its heads are merged, 0.99 and 1.02 with separate products for q, k and v
(in Swin-T, in 2 of 12 blocks).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from artifact.parts.values import Target
from export.auditing import audit, load_model
from export.passes.fuse_attention import OPSET
from export.process.errors import ExportError

_MAX_FINDINGS = 5
"""Maximum number of findings in an error message."""

_EVERYWHERE = frozenset({"domain"})
"""Checks that apply to every target."""
_TENSORRT = frozenset({"opset", "operator", "type", "restriction"})
"""Checks against TensorRT's support table."""


@dataclass(frozen=True)
class Choices:
    """Requirements of a target on a graph.

    Attributes:
        checks: checks of the audit whose errors fail the export.
        basis: reason for the choices, for the report.
        attention_from: first opset whose Attention replaces products and softmax; None for never.
        refusal: error message, with placeholders for the findings and TensorRT's version.
    """

    checks: frozenset[str]
    basis: str
    attention_from: int | None = None
    refusal: str = "some runtimes do not support this graph: {findings}; change the network"


CHOICES: Mapping[Target, Choices] = {
    "portable": Choices(_EVERYWHERE, "supported by every runtime"),
    "onnxruntime": Choices(
        _EVERYWHERE,
        f"from --opset {OPSET} on, attention without a bias is Attention: up to 1.3 times as fast on a GPU",
        attention_from=OPSET,
    ),
    "openvino": Choices(_EVERYWHERE, "the portable graph; no other form was measurably faster"),
    # In every graph, queries are scaled before q·kᵀ, the pattern of TensorRT's fused attention (NVIDIA's
    # documentation), and attention is MatMul and Softmax: Attention requires TensorRT 10.14. Neither was measured.
    "tensorrt": Choices(
        _EVERYWHERE | _TENSORRT,
        "the portable graph, checked against TensorRT's support table; not measured",
        refusal="TensorRT {tensorrt} does not support this graph: {findings}; change the network, or export without "
        "--target tensorrt",
    ),
}


def fuses_attention(target: Target, opset: int) -> bool:
    """Return whether attention becomes Attention in a graph of this opset for a target."""
    first = CHOICES[target].attention_from
    return first is not None and opset >= first


def check_target(graph: Path, target: Target) -> None:
    """Audit a written graph for a target.

    Raises:
        ExportError: the audit has errors; the message contains the findings and remedies.
    """
    asked = CHOICES[target]
    found = audit(load_model(graph), checks=asked.checks, in_place=True)
    errors = [finding for finding in found.findings if finding.severity == "error"]
    if errors:
        more = f"; and {len(errors) - _MAX_FINDINGS} more: see export/audit.py" if len(errors) > _MAX_FINDINGS else ""
        listed = "; ".join(f"{each.where}: {each.found} ({each.remedy})" for each in errors[:_MAX_FINDINGS])
        raise ExportError(asked.refusal.format(tensorrt=found.tensorrt, findings=f"{listed}{more}"))
