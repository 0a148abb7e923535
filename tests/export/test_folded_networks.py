"""Folded graphs of timm networks: remaining operators, parity and the report.

The expected operators are counted by hand from the architecture. A block has six additions: the biases of QKV, of the
projection and of the two layers of the MLP, and two residual connections. One more adds the positions.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from artifact import Batch, Parity
from export.passes.graph import Built, build_graph
from export.passes.values import array_of
from export.precision.calibration import CalibrationImages
from export.precision.lower import Lowering
from export.process.errors import ParityError
from export.report.baked import report_constants
from export.tracing.pixels import ArtifactInput, Normalisation
from export.verify.parity import LIMITS, TOLERANCE, Limits, check_parity
from export.verify.reference import BATCHES, Reference, compute_reference
from export.write.describe import describe_graph
from export.write.saving import save_graph
from models.sources.library_module import randomise_module

pytestmark = pytest.mark.slow

MANY = Batch(min=1, max=8)
OPSET = 20
SIZE = (64, 64)
PIXELS = Normalisation((0.4, 0.5, 0.6), (0.2, 0.3, 0.25))
VIT: dict[str, Any] = {"img_size": 64, "embed_dim": 48, "num_heads": 3, "depth": 2, "num_classes": 10}
SWIN: dict[str, Any] = {
    "img_size": 64,
    "window_size": 4,
    "embed_dim": 32,
    "depths": (2, 2),
    "num_heads": (2, 4),
    "num_classes": 10,
}


class Expected(NamedTuple):
    """A network, and the numbers of operators that remain in its graph.

    Attributes:
        make: constructor of the network.
        additions: number of Adds; the last product is a Gemm with its own bias.
        factors: number of Muls.
        plain_norms: number of LayerNormalizations whose scale is all ones.
        sliced: number of blocks that slice q, k and v, because only the q of the class token is read.
    """

    make: Callable[[], nn.Module]
    additions: int
    factors: int
    plain_norms: int
    sliced: int = 0


NETWORKS = {
    "vit": Expected(lambda: timm.create_model("vit_small_patch16_224", **VIT), 2 * 6 + 1, 0, 5, 1),
    "layer scale": Expected(
        lambda: timm.create_model("deit3_small_patch16_224", **VIT | {"init_values": 0.1}), 2 * 6 + 1, 0, 5, 1
    ),
    # one more addition per block, the bias of the scores; the last one adds the class token, not positions
    "beit": Expected(lambda: timm.create_model("beit_base_patch16_224", **VIT), 2 * 7 + 1, 0, 5),
    # the norms before patch merging and after the patch embedding keep their scales
    "swin": Expected(lambda: timm.create_model("swin_tiny_patch4_window7_224", **SWIN), 4 * 7, 0, 9),
    # all norms but the last follow the products; the scale multiplies q, which has unit length
    "swin v2": Expected(lambda: timm.create_model("swinv2_tiny_window8_256", **SWIN), 4 * 7, 4, 1),
}


@functools.cache
def network_of(name: str) -> nn.Module:
    torch.manual_seed(0)
    network = NETWORKS[name].make().eval()
    randomise_module(name, network, 0, SIZE)
    return network


@functools.cache
def reference_of(name: str) -> Reference:
    return compute_reference(network_of(name), SIZE, PIXELS, MANY)


@functools.cache
def built(name: str) -> Built:
    form = ArtifactInput(network_of(name), PIXELS)
    return build_graph(form, torch.zeros(2, *SIZE, 3, dtype=torch.uint8), MANY, OPSET)


def parity_of(made: Built, name: str, folder: Path) -> Parity:
    save_graph(made.model, folder / "model.onnx")
    return check_parity(reference_of(name), folder / "model.onnx", takes_pixels=True, tolerance=TOLERANCE)


@pytest.mark.parametrize("name", NETWORKS)
def test_additions_and_factors_that_weights_can_absorb_are_folded(name: str) -> None:
    facts = describe_graph(built(name).model)
    expected = NETWORKS[name]
    assert facts.constant_only_nodes == 0
    assert facts.ops.get("Add") == expected.additions
    assert facts.ops.get("Mul", 0) == expected.factors
    assert facts.ops.get("Sub", 0) == 0
    assert facts.ops["Split"] == facts.ops["Softmax"] - expected.sliced  # q, k and v of each block
    assert "Squeeze" not in facts.ops
    norms = [node for node in built(name).model.graph if node.op_type == "LayerNormalization"]
    plain = [node for node in norms if len(node.inputs) == 2]
    assert len(plain) == expected.plain_norms
    for node in plain:
        assert node.inputs[1] is not None
        np.testing.assert_array_equal(array_of(node.inputs[1]), 1)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_graph_has_the_networks_logits_at_every_batch(name: str, tmp_path: Path) -> None:
    parity = parity_of(built(name), name, tmp_path)
    assert parity.batches == BATCHES


def test_parity_detects_a_missing_fold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.passes.walks.scale_results", lambda *_: [])  # drops 1/√d from the graph
    form = ArtifactInput(network_of("vit"), PIXELS)
    wrong = build_graph(form, torch.zeros(2, *SIZE, 3, dtype=torch.uint8), MANY, OPSET)
    with pytest.raises(ParityError):
        parity_of(wrong, "vit", tmp_path)


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
@pytest.mark.parametrize("name", ["layer scale", "swin", "swin v2"])
def test_folded_graphs_are_lowered_to(precision: str, name: str, tmp_path: Path) -> None:
    single = parity_of(built(name), name, tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (16, *SIZE, 3), np.uint8)
    lowering = Lowering(precision, Limits(LIMITS[precision].cosine, 0), CalibrationImages("noise", pixels))
    reference = lowering.reference(network_of(name), reference_of(name), MANY)
    facts = lowering.rewrite(tmp_path / "model.onnx", reference, takes_pixels=True)
    lowering.check(tmp_path / "model.onnx", reference, single, takes_pixels=True)
    assert facts.constant_only_nodes == 0


def test_a_merged_bias_and_mask_are_one_line_of_the_report() -> None:
    made = built("swin")
    lines = report_constants(network_of("swin"), made.constants)
    biases = [line for line in lines if "relative_position_bias_table" in line.what]
    assert [line.shape for line in biases] == [
        (1, 2, 16, 16),
        (1, 16, 2, 16, 16),  # 16 windows of the first stage
        (1, 4, 16, 16),
        (1, 4, 4, 16, 16),
    ]
    assert ["attn_mask" in line.what for line in biases] == [False, True, False, True]
    assert not [line for line in lines if line.module.endswith("blocks.1") and "mask" in line.what]
    stored = {
        value.const_value.shape.numpy(): value for value in made.model.graph.initializers.values() if value.const_value
    }
    for line in biases:
        assert line.shape in stored
        assert line.bytes == array_of(stored[line.shape]).nbytes


def test_the_report_notes_scales_and_shifts_folded_into_a_constant() -> None:
    lines = report_constants(network_of("beit"), built("beit").constants)
    bias = next(line for line in lines if line.module == "blocks.0.attn" and "q_bias" in line.what)
    assert bias.what == "cat of q_bias, k_bias, v_bias; with scales and shifts folded in"
    assert bias.shape == (3 * 48,)
    assert not [line for line in lines if "table" in line.what and "folded" in line.what]


class ScaledTable(nn.Module):
    """A layer whose input is multiplied by a scale computed from a table."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.log_scale = nn.Linear(12, 5), nn.Parameter(torch.linspace(-1, 1, 12))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layer(x.flatten(1).relu() * self.log_scale.exp())
        return logits


def test_a_constant_folded_into_weights_is_reported_with_zero_bytes() -> None:
    network = ArtifactInput(ScaledTable().eval(), None)
    made = build_graph(network, torch.zeros(2, 3, 2, 2), MANY, OPSET)
    (line,) = report_constants(network, made.constants)
    assert (line.what, line.shape, line.bytes) == ("exp of log_scale; folded into weights", (), 0)
    assert "Mul" not in describe_graph(made.model).ops


def test_positions_and_a_class_token_are_stored_and_reported_as_one() -> None:
    lines = report_constants(network_of("vit"), built("vit").constants)
    (line,) = (line for line in lines if "pos_embed" in line.what)
    assert (line.kind, line.shape) == ("static", (1, 17, 48))
    shapes = [tuple(value.shape) for value in built("vit").model.graph.initializers.values() if value.shape is not None]
    assert shapes.count(line.shape) == 1
