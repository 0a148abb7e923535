"""Library networks exported without re-hosting: parity at any batch, and no constant subgraphs.

The reference is the library's module in float64 with large position tables; see `small_networks`.
"""

import copy
import functools
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from artifact import Baked, Batch
from export.auditing import audit
from export.passes.graph import Built, build_graph
from export.process.errors import ParityError
from export.report.baked import report_constants
from export.tracing.pixels import ArtifactInput, Normalisation
from export.verify.parity import UNKNOWN_TOLERANCE, check_parity
from export.verify.reference import BATCHES, FLOAT64, Reference, compute_reference
from export.write.describe import describe_graph
from export.write.saving import check_graph, save_graph
from models.sources import Loaded, Overrides, RandomWeights, load_source

pytestmark = pytest.mark.slow

MANY = Batch(min=1, max=32)
OPSET = 20

# Name of each network's position table in its bake report, and the kind of the constant.
NETWORKS: dict[str, tuple[str, str]] = {
    "beit": ("relative_position_bias_table", "static"),
    "beit_of_transformers": ("relative_position_bias_table", "static"),
    "convit": ("pos_proj", "static"),
    "dinov3_of_timm": ("cos", "static"),
    "dinov3_of_transformers": ("inv_freq", "static"),
    "efficientformer": ("attention_biases", "static"),
    "gcvit": ("relative_position_bias_table", "static"),
    "halonet": ("height_rel", "query-dependent"),
    "levit": ("attention_biases", "static"),
    "maxvit_rmlp": ("mlp.fc1", "static"),
    "mvitv2": ("rel_pos_h", "query-dependent"),
    "rope_mixed": ("freqs", "static"),
    "sam": ("rel_pos_h", "query-dependent"),
    "swin_of_transformers": ("relative_position_bias_table", "static"),
    "swin_v2_of_torchvision": ("cpb_mlp", "static"),
    "swinv2_cr": ("meta_mlp", "static"),
    "tiny_vit": ("attention_biases", "static"),
    "vit_srelpos": ("mlp", "static"),
    "xcit": ("token_projection", "static"),
}


@functools.cache
def loaded(name: str) -> Loaded:
    return load_source(f"python:tests.export.small_networks:{name}", RandomWeights(0), Overrides())


@functools.cache
def reference_of(name: str) -> Reference:
    network = loaded(name)
    normalisation = Normalisation(network.preprocess.mean, network.preprocess.std)
    return compute_reference(network.network, network.image_size, normalisation, MANY)


@functools.cache
def build(name: str) -> Built:
    return build_graph(
        ArtifactInput(loaded(name).network, None), torch.zeros(2, 3, *loaded(name).image_size), MANY, OPSET
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_the_graph_has_the_librarys_logits_and_no_constant_nodes(name: str, tmp_path: Path) -> None:
    built = build(name)
    path = tmp_path / "model.onnx"
    save_graph(built.model, path)
    check_graph(path)
    parity = check_parity(reference_of(name), path, takes_pixels=False, tolerance=UNKNOWN_TOLERANCE)
    assert (parity.batches, parity.reference) == (BATCHES, FLOAT64)
    facts = describe_graph(built.model)
    assert facts.constant_only_nodes == 0
    assert {"Shape", "Range", "ConstantOfShape", "ScatterND"}.isdisjoint(facts.ops)
    assert set(built.model.opset_imports) == {""}
    assert [finding for finding in audit(built.model).findings if finding.severity != "info"] == []
    report = report_constants(loaded(name).network, built.constants)
    assert of_the_table(name, report), [(line.module, line.kind, line.what) for line in report]


def of_the_table(name: str, report: tuple[Baked, ...]) -> list[Baked]:
    table, kind = NETWORKS[name]
    return [line for line in report if line.kind == kind and table in f"{line.module} {line.what}"]


@pytest.mark.parametrize("name", NETWORKS)
def test_parity_detects_position_tables_of_zeros(name: str) -> None:
    bare = copy.deepcopy(loaded(name).network)
    tensors = dict(bare.named_parameters()) | dict(bare.named_buffers())
    constants = build(name).constants
    made_of = {source for constant in constants if constant.work for source in constant.sources}
    raw = {source for constant in constants for source in constant.sources if "rel" in source or "pos" in source}
    with torch.no_grad():
        for path, tensor in tensors.items():
            if path.removeprefix("network.") in made_of | raw and tensor.is_floating_point():
                tensor.fill_(
                    0 if isinstance(tensor, nn.Parameter) else 1
                )  # ones, because rotations divide by their periods
    expected = reference_of(name)
    bare_logits = compute_reference(bare, loaded(name).image_size, expected.normalisation, MANY).logits
    error = np.abs(bare_logits - expected.logits).max() / np.abs(expected.logits).max()
    assert error > 10 * UNKNOWN_TOLERANCE


def test_parity_is_able_to_fail(tmp_path: Path) -> None:
    built = build("beit")
    table = built.model.graph.initializers["blocks.0.attn.relative_position_bias_table_baked"]
    assert table.const_value is not None
    numbers = table.const_value.numpy().copy()
    numbers[..., 0] += 1  # one column, because softmax ignores a shift of all keys
    table.const_value = ir.tensor(numbers, name=table.name)
    save_graph(built.model, tmp_path / "model.onnx")
    with pytest.raises(ParityError, match="off by"):
        check_parity(reference_of("beit"), tmp_path / "model.onnx", takes_pixels=False, tolerance=UNKNOWN_TOLERANCE)
