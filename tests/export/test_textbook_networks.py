"""This project's own networks with every option: parity of their graphs, and the report of their encodings."""

import copy
import functools
from typing import Any

import onnx_ir as ir
import pytest
import torch
from torch import nn

from artifact import Baked
from export.passes.graph import Built
from export.report.baked import report_constants
from export.tracing.pixels import Normalisation
from export.verify.reference import normalise
from export.write.describe import describe_graph
from models import SwinConfig, ViTConfig, build_network
from models.sources.own import randomise
from tests.export.graphs import built_graph, open_graph, run_graph
from tests.models.networks import SWIN, VIT_CLS
from tests.models.sources.libraries import relative_error

pytestmark = pytest.mark.slow

TOLERANCE = 1e-5  # relative to the largest logit; graphs compute in float32
PIXELS = Normalisation(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))
CONTEXTUAL: dict[str, Any] = {"encodings": {"learned": {}, "irpe-product-contextual-qkv": {"shared": False}}}
THREE_STAGES: dict[str, Any] = {"image_size": (64, 64), "depths": (1, 2, 1), "num_heads": (2, 4, 8), "window_size": 4}
SECOND: dict[str, Any] = {"version": 2, "encodings": {"swin-log-cpb": {}}}


def vit(**options: object) -> ViTConfig:
    return ViTConfig.model_validate(VIT_CLS.model_dump() | options)


NETWORKS: dict[str, ViTConfig | SwinConfig] = {
    "vit with registers, without cls": vit(pool="mean", registers=2, **CONTEXTUAL),
    "vit distilled, with registers": vit(pool="distilled", registers=1, **CONTEXTUAL),
    "vit without biases of q, k, v": vit(qkv_bias=False, encodings={"rope": {}}, num_heads=2),
    "swin of three stages": SWIN.model_copy(update=THREE_STAGES),
    "swin learned + irpe": SWIN.model_copy(
        update={"depths": (2, 1), "encodings": {"learned": {}, "irpe-product-contextual-k": {}}}
    ),
    "swin v2 of three stages": SWIN.model_copy(update=SECOND | THREE_STAGES),
}


def network_of(config: ViTConfig | SwinConfig) -> nn.Module:
    network = build_network(config).eval()
    randomise(network, seed=3)
    return network


@functools.cache
def built_of(name: str) -> tuple[nn.Module, Built]:
    network = network_of(NETWORKS[name])
    return network, built_graph(network, NETWORKS[name].image_size, PIXELS)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_graph_has_the_networks_logits_on_pixels_and_no_constant_nodes(name: str) -> None:
    config = NETWORKS[name]
    network, built = built_of(name)
    model = built.model
    facts = describe_graph(model)
    assert (facts.constant_only_nodes, facts.table_gathers) == (0, 0)
    assert {"Shape", "Expand"}.isdisjoint(facts.ops)
    session = open_graph(model)
    for batch in (1, 2, 3, 7):
        generator = torch.Generator().manual_seed(batch)
        pixels = torch.randint(0, 256, (batch, *config.image_size, 3), dtype=torch.uint8, generator=generator)
        with torch.no_grad():
            expected = copy.deepcopy(network).double()(normalise(pixels, PIXELS))
        assert relative_error(run_graph(session, pixels), expected) < TOLERANCE
    assert (
        relative_error(run_graph(session, pixels.flip(0)), expected) > 100 * TOLERANCE
    )  # the comparison is able to fail


def lines_of(network: nn.Module, built: Built) -> dict[tuple[str, str], Baked]:
    return {(line.module, line.kind): line for line in report_constants(network, built.constants)}


def report_of(config: ViTConfig | SwinConfig) -> tuple[Built, dict[tuple[str, str], Baked]]:
    network = network_of(config)
    built = built_graph(network, config.image_size)
    return built, lines_of(network, built)


def test_the_report_separates_static_and_query_dependent_constants() -> None:
    lines = lines_of(*built_of("swin learned + irpe"))
    assert lines["position", "static"].shape == (8 * 16, 16)
    first, shifted = "stages.0.blocks.0.attention", "stages.0.blocks.1.attention"
    assert "table" in lines[f"{first}.encoding.k.product", "query-dependent"].what
    assert (first, "static") not in lines
    mask = lines[shifted, "static"]
    assert (mask.shape[-3:], mask.bytes) == ((1, 16, 16), 4 * 8 * 16 * 16)
    assert mask.what.endswith("mask")


@pytest.mark.parametrize("name", ["rope", "rope-mixed", "sincos", "alibi-2d", "swin-table"])
def test_every_static_encoding_is_reported_even_if_nothing_is_computed(name: str) -> None:
    built, lines = report_of(vit(encodings={name: {}}, pool="mean", num_heads=2, depth=1))
    of_encoding = {
        kind for module, kind in lines if "encoding" in module or module in ("position", "blocks.0.attention")
    }
    assert of_encoding == {"static"}
    held = {tuple(value.shape.numpy()) for value in built.model.graph.initializers.values() if value.shape}
    assert all(line.shape in held for line in lines.values())
    assert isinstance(built.model, ir.Model)


def test_a_network_without_an_encoding_has_an_empty_report() -> None:
    assert report_of(vit(encodings={}, depth=1))[1] == {}
