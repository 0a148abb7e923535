"""Networks that classify a class token: the last block computes only its row, and the report lists what is stored."""

import functools
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import pytest
import timm
import torch
from onnx import shape_inference
from torch import Tensor, nn

from artifact import Baked, Batch, read_artifact
from export import passes
from export.passes.graph import Built, build_graph, rewrite_graph
from export.report.baked import report_constants
from export.to_onnx import main
from export.tracing.graph import TracedGraph, trace_graph
from export.tracing.pixels import ArtifactInput
from models import build_network
from models.sources.own import randomise
from tests.export.graphs import OPSET, open_graph, run_graph
from tests.models.networks import VIT_CLS
from tests.models.sources.libraries import relative_error

pytestmark = pytest.mark.slow

TOLERANCE = 1e-5  # relative to the largest logit, as in export
BATCHES = (1, 2, 3, 7)
MANY = Batch(min=1, max=8)
PATCHES, WIDTH, HEADS = 24, 24, 3  # of VIT_CLS
TINY: dict[str, Any] = {"num_classes": 10, "img_size": 64, "embed_dim": 48, "num_heads": 3}  # 16 patches


class NoPass(ir.passes.InPlacePass):
    """A pass that changes nothing."""

    def __init__(self, _batch: int | None = None) -> None:
        super().__init__()

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        return ir.passes.PassResult(model, modified=False)


def own_vit(depth: int, *encodings: str, **options: object) -> nn.Module:
    chosen = {"depth": depth, "encodings": {name: {} for name in encodings}, **options}
    return build_network(VIT_CLS.model_copy(update=chosen))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "learned, depth 1": lambda: own_vit(1, "learned"),
    "learned, depth 2": lambda: own_vit(2, "learned"),
    "beit-table, depth 2": lambda: own_vit(2, "beit-table"),
    "irpe, depth 2": lambda: own_vit(2, "irpe-product-contextual-k"),
    "rope, distilled": lambda: own_vit(2, "rope", pool="distilled"),
    "timm deit": lambda: timm.create_model("deit_tiny_patch16_224", depth=2, **TINY),
    "timm deit, distilled": lambda: timm.create_model("deit_tiny_distilled_patch16_224", depth=2, **TINY),
    "timm relpos": lambda: timm.create_model("vit_relpos_base_patch16_cls_224", depth=2, **TINY),
    "timm cait": lambda: timm.create_model("cait_xxs24_224", depth=1, depth_token_only=2, **TINY),
}

# Number of MatMuls by their number of rows, without the patch embedding and MatMuls of rank 2. A block has six; in the
# last block, the packed QKV product keeps all rows.
BLOCK, LAST = 6, 5
PRODUCTS: dict[str, dict[int, int]] = {
    "learned, depth 1": {25: 1, 1: LAST},
    "learned, depth 2": {25: BLOCK + 1, 1: LAST},
    "beit-table, depth 2": {25: BLOCK + 1, 1: LAST},
    "irpe, depth 2": {25: BLOCK + 1 + 1, 1: LAST + 1},
    "rope, distilled": {26: BLOCK + 1, 2: LAST},
    "timm deit": {17: BLOCK + 1, 1: LAST},
    "timm deit, distilled": {18: BLOCK + 1, 2: LAST},
    "timm relpos": {17: BLOCK + 1, 1: LAST},
    "timm cait": {16: 8, 17: 2 * 2, 1: 2 * 5},  # two are talking-heads products; keys and values have a layer each
}


def network_of(name: str) -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = NETWORKS[name]().eval()
    randomise(network, seed=3)
    return network.double()


def images_for(name: str) -> Tensor:
    size = (64, 64) if name.startswith("timm") else VIT_CLS.image_size
    return torch.randn(sum(BATCHES), 3, *size, generator=torch.Generator().manual_seed(5))


def traced_of(network: nn.Module, images: Tensor) -> TracedGraph:
    return trace_graph(ArtifactInput(network.float(), None), images[:2], MANY, OPSET)


@functools.cache
def traced_graph_of(name: str) -> TracedGraph:
    return traced_of(network_of(name), images_for(name))


def rewritten(name: str) -> Built:
    """Rewrite a copy of a network's traced graph, which is traced once."""
    traced = traced_graph_of(name)
    return rewrite_graph(replace(traced, model=traced.model.clone()))


built_graph_of = functools.cache(rewritten)


def rows_of_products(model: ir.Model) -> Counter[int]:
    """Count MatMuls by their number of rows, with ONNX's shape inference."""
    proto = shape_inference.infer_shapes(ir.to_proto(model), strict_mode=True, data_prop=True)
    sizes = {value.name: value.type.tensor_type.shape.dim for value in proto.graph.value_info}
    products = [sizes.get(node.output[0], ()) for node in proto.graph.node if node.op_type == "MatMul"]
    return Counter(dims[-2].dim_value for dims in products if len(dims) > 2)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_last_block_computes_only_the_classified_rows(name: str) -> None:
    network, images = network_of(name), images_for(name)
    with torch.no_grad():
        expected = network(images.double())
    built = built_graph_of(name)
    products = rows_of_products(built.model)
    assert products == PRODUCTS[name]
    session = open_graph(built.model)
    for batch, wanted in zip(*(torch.split(part, list(BATCHES)) for part in (images, expected)), strict=True):
        assert relative_error(run_graph(session, batch), wanted) < TOLERANCE
    assert (
        relative_error(run_graph(session, images.flip(0)), expected) > 100 * TOLERANCE
    )  # the comparison is able to fail


def test_the_last_norm_reads_only_the_class_token() -> None:
    """CaiT joins the class token with the patches only to slice it off again."""
    built = built_graph_of("timm cait")
    *_, norm = (node for node in built.model.graph if node.op_type == "LayerNormalization")
    assert list(norm.outputs[0].shape or ())[1:] == [1, 48]
    assert norm.inputs[0] is not None
    assert (norm.inputs[0].producer() or norm).op_type == "Add"


@pytest.mark.parametrize("name", ["beit-table, depth 2", "timm deit"])
def test_all_rows_are_computed_without_the_pass(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "PropagateSlices", NoPass)
    built = rewritten(name)
    assert set(rows_of_products(built.model)) <= {PATCHES, PATCHES + 1, 17}


@pytest.mark.parametrize(
    ("batch", "opset"), [(Batch(min=1, max=1), 18), (Batch(min=2, max=2), 20), (MANY, 18), (MANY, 23)]
)
def test_a_fixed_batch_and_other_opsets_are_narrowed_too(batch: Batch, opset: int) -> None:
    name = "learned, depth 2"
    network, images = network_of(name), images_for(name)
    with torch.no_grad():
        expected = network(images[: batch.min].double())
    built = build_graph(
        ArtifactInput(network.float(), None), images[: max(batch.min, 1 if batch.max == 1 else 2)], batch, opset
    )
    assert rows_of_products(built.model)[1] == LAST
    assert relative_error(run_graph(open_graph(built.model), images[: batch.min]), expected) < TOLERANCE


@pytest.mark.parametrize("name", ["timm swin", "timm vit with a mean"])
def test_a_network_that_reads_all_tokens_does_not_change(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    small: dict[str, Any] = {"img_size": 64, "window_size": 4, "embed_dim": 16, "depths": (1, 1), "num_heads": (1, 2)}
    networks: dict[str, Callable[[], nn.Module]] = {
        "timm swin": lambda: timm.create_model("swin_tiny_patch4_window7_224", num_classes=10, **small),
        "timm vit with a mean": lambda: timm.create_model("beit_base_patch16_224", depth=2, **TINY),
    }
    network = networks[name]().eval()
    randomise(network, seed=3)
    images = torch.zeros(2, 3, 64, 64)
    traced = traced_of(network, images)
    first, second = (replace(traced, model=traced.model.clone()) for _ in range(2))
    after = ir.to_proto(rewrite_graph(first).model)
    monkeypatch.setattr(passes, "PropagateSlices", NoPass)
    before = ir.to_proto(rewrite_graph(second).model)
    assert after.SerializeToString(deterministic=True) == before.SerializeToString(deterministic=True)


def stored(model: ir.Model) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape.numpy()) for name, value in model.graph.initializers.items() if value.shape}


def reported(network: nn.Module, built: Built) -> list[Baked]:
    return [line for line in report_constants(network, built.constants) if "attention" in line.module]


def test_the_last_bias_is_stored_and_reported_as_one_row() -> None:
    network, built = network_of("beit-table, depth 2"), built_graph_of("beit-table, depth 2")
    whole, row = (HEADS, PATCHES + 1, PATCHES + 1), (HEADS, 1, PATCHES + 1)
    lines = [(line.shape, line.bytes) for line in reported(network, built)]
    assert lines == [(whole, 4 * HEADS * 25 * 25), (row, 4 * HEADS * 25)]
    assert {whole, row} <= set(stored(built.model).values())


def test_the_remaining_parts_of_tables_and_indices_are_reported() -> None:
    network, images = own_vit(2, "irpe-product-contextual-qkv").eval(), images_for("")
    randomise(network, seed=3)
    built = rewrite_graph(traced_of(network, images))
    lines = {block: [line for line in reported(network, built) if f"blocks.{block}" in line.module] for block in (0, 1)}
    held = dict.fromkeys(stored(built.model).values(), 0)
    assert all(line.shape in held for line in (*lines[0], *lines[1]))
    assert sum(line.bytes for line in lines[1]) < sum(line.bytes for line in lines[0])


def test_a_library_networks_last_bias_is_reported_as_one_row() -> None:
    network, built = network_of("timm relpos"), built_graph_of("timm relpos")
    lines = {line.module: line for line in report_constants(network, built.constants) if "attn" in line.module}
    assert (lines["blocks.0.attn"].shape, lines["blocks.0.attn"].bytes) == ((1, 3, 17, 17), 4 * 3 * 17 * 17)
    assert (lines["blocks.1.attn"].shape, lines["blocks.1.attn"].bytes) == ((1, 3, 1, 17), 4 * 3 * 17)
    assert {(1, 3, 17, 17), (1, 3, 1, 17)} <= set(stored(built.model).values())


class Shared(nn.Module):
    """Two blocks that share a bias of their scores, and a head that reads the class token."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.randn(1, 1, 12, 12, generator=torch.Generator().manual_seed(0)))
        self.blocks = nn.ModuleList(nn.Linear(16, 16) for _ in range(2))
        self.head = nn.Linear(16, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = images.reshape(-1, 12, 16)
        for block in self.blocks:
            q = block(x).reshape(-1, 12, 2, 8).transpose(1, 2)
            attention = torch.softmax(q @ q.transpose(-2, -1) + self.bias, dim=-1)
            x = x + (attention @ q).transpose(1, 2).reshape(-1, 12, 16)
        logits: Tensor = self.head(x[:, 0])
        return logits


def test_a_bias_that_another_block_reads_in_full_is_reported_in_full() -> None:
    network = Shared().eval()
    built = build_graph(ArtifactInput(network, None), torch.zeros(2, 3, 8, 8), MANY, OPSET)
    (line,) = report_constants(network, built.constants)
    assert (line.shape, line.bytes) == ((1, 1, 12, 12), 4 * 144)
    assert {(1, 1, 12, 12), (1, 1, 1, 12)} <= set(stored(built.model).values())


def test_the_manifest_matches_the_constants_of_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = VIT_CLS.model_copy(update={"encodings": {"beit-table": {}}}).model_dump(mode="json")
    half = [0.5, 0.5, 0.5]
    preprocess = {"resize": [32, 48], "interpolation": "bicubic", "mean": half, "std": half}
    config = tmp_path / "network.json"
    config.write_text(json.dumps({"preprocess": preprocess, "network": network}))
    arguments = [f"posbake:{config}", "--random-weights", "0", "--quiet", "--report", "--model", "m", "--variant", "v"]
    assert main([*arguments, "--output", str(tmp_path / "here")]) == 0, capsys.readouterr().err
    artifact = read_artifact(tmp_path / "here" / "m" / "v" / "1")
    constants = [onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(artifact.graph).graph.initializer]
    held = {constant.shape: constant.nbytes for constant in constants}
    biases = [line for line in artifact.manifest.baked if "attention" in line.module]
    assert [line.shape[-2] for line in biases] == [PATCHES + 1, 1]
    assert all(held[line.shape] == line.bytes for line in biases)
    assert "heat map of 1 × 25 numbers" in (artifact.path / "report.html").read_text(encoding="utf-8")
