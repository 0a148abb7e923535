"""Targets of `--target`: requirements on a graph, and the measurements behind them.

Equal forms of a graph were compared on 2026-11-26 (ONNX Runtime 1.31, OpenVINO 2026.4 in float32, 2 cores of AMD EPYC
that did other work besides; Swin-T, ViT-S and GCViT-xxtiny with random weights, batch 1 and 8): median CPU time of the
graph that is written over that of the other form, least to most of the three networks and two batch sizes. ONNX Runtime
with GCViT at batch 1 was too noisy to count; differences below 4 % are taken as none.

| form | ONNX Runtime | OpenVINO |
| --- | --- | --- |
| a product each for q, k and v | 0.97 to 1.03 | 0.99 to 1.04 |
| `Attention` of opset 23 on [B, H, N, d] | 0.97 to 1.05 | 0.97 to 1.00 |
| `Attention` of opset 23 on [B, N, H·d] | 1.00 to 1.03 | 0.99 to 1.01 |
| costs that favour Gather | 0.99 to 1.01 | 0.98 to 1.01 |
| costs that favour Transpose | 0.99 to 1.03 | 0.98 to 1.02 |

No form is consistently faster on a target (1.05 is GCViT at batch 8, where ViT-S and Swin-T lose 3 %), so all targets
have the same graph and differ only in the checks. `python -m benchmarks.targets` repeats the measurement.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from artifact.parts.values import Target
from export.auditing import Finding, audit, load_model
from export.process.errors import ExportError

_SHOWN = 5
"""Findings that an error lists."""

_EVERYWHERE = frozenset({"domain"})
"""Checks with errors for every target: operators that only some runtimes support."""
_TENSORRT = frozenset({"opset", "operator", "type", "restriction"})
"""Checks against TensorRT's support table."""


@dataclass(frozen=True)
class Choices:
    """Requirements of a target on a graph.

    Attributes:
        checks: checks of the audit; an error of one of them refuses a graph.
        basis: reason for the choices, in a sentence.
        refusal: message about a refused graph, with places for the findings and TensorRT's version.
    """

    checks: frozenset[str]
    basis: str
    refusal: str = "not every runtime would take this graph: {findings}; change the network"


CHOICES: Mapping[Target, Choices] = {
    "portable": Choices(_EVERYWHERE, "right in every runtime"),
    "onnxruntime": Choices(_EVERYWHERE, "the portable graph; no other form was measurably faster"),
    "openvino": Choices(_EVERYWHERE, "the portable graph; no other form was measurably faster"),
    # Queries are scaled before q·kᵀ in every graph, as TensorRT's fused attention wants it (NVIDIA's documentation);
    # MatMul and Softmax are kept, which TensorRT takes at every opset: Attention needs 10.14. Nothing was measured.
    "tensorrt": Choices(
        _EVERYWHERE | _TENSORRT,
        "the portable graph, held against TensorRT's support table; not measured",
        "TensorRT {tensorrt} would not take this graph: {findings}; change the network, or export without --target "
        "tensorrt",
    ),
}


def check_target(graph: Path, target: Target) -> None:
    """Audit a written graph for a target.

    Raises:
        ExportError: the audit has errors; the message has findings and remedies.
    """
    asked = CHOICES[target]
    found = audit(load_model(graph), checks=asked.checks, in_place=True)
    errors = [finding for finding in found.findings if finding.severity == "error"]
    if errors:
        more = f"; and {len(errors) - _SHOWN} more: see export/audit.py" if len(errors) > _SHOWN else ""
        listed = "; ".join(map(_described, errors[:_SHOWN]))
        raise ExportError(asked.refusal.format(tensorrt=found.tensorrt, findings=f"{listed}{more}"))


def _described(finding: Finding) -> str:
    where = " ".join(part for part in (finding.op, finding.name) if part) or "the model"
    scope = f" in {finding.scope}" if finding.scope else ""
    return f"{where}{scope}: {finding.found} ({finding.remedy})"
