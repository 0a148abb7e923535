"""Every encoding in every network, exported: parity with the network, and no constant subgraphs.

The reference is the network in float64, with tables large enough to affect the logits.
"""

import functools
from collections import Counter

import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

from export.report.baked import report_constants
from export.write.describe import describe_graph
from models import SwinConfig, ViTConfig, build_network
from models.encodings import ENCODINGS
from models.sources.own import randomise
from tests.export.graphs import baked_graph, built_graph, open_graph, run_graph
from tests.models.networks import SWIN, VIT_CLS, VIT_MEAN
from tests.models.sources.libraries import relative_error

pytestmark = pytest.mark.slow

TOLERANCE = 1e-5  # relative to the largest logit, as in export; graphs compute in float32
BATCHES = (1, 2, 3, 7)

SMALL_SWIN = SWIN.model_copy(update={"depths": (2,), "num_heads": (2,)})  # one block is shifted

NETWORKS: dict[str, ViTConfig | SwinConfig] = {
    "vit": VIT_MEAN.model_copy(update={"depth": 1}),
    "vit with cls": VIT_CLS,  # two blocks: in one, most encodings give CLS uniform scores, which have no effect
    "swin v1": SMALL_SWIN,
    "swin v2": SMALL_SWIN.model_copy(update={"version": 2}),
}
NAMES = [name for name in sorted(ENCODINGS) if not ("-bias-" in name and name.endswith("v"))]  # values have no bias

STATIC = {"Add"}
ROTARY = {"Add", "Concat", "Mul", "Neg", "Reshape", "Slice", "Split", "Transpose"}  # halves of queries and keys
CONTEXTUAL = {"Add", "Gather", "MatMul", "Mul", "Reshape", "Transpose"}
GRAPHS: dict[str, tuple[str, set[str]]] = {  # one of each family: the network, and the operators it may add
    "alibi-2d": ("vit", STATIC),
    "beit-table": ("vit with cls", STATIC),
    "irpe-cross-contextual-k": ("swin v1", CONTEXTUAL),
    "irpe-euclidean-bias-qk": ("vit", STATIC),
    "irpe-product-contextual-qkv": ("vit with cls", CONTEXTUAL | {"Slice"}),  # CLS needs one row of the keys' scores
    "learned": ("vit", STATIC),
    "relpos-mlp": ("vit", STATIC),
    "rope": ("vit", ROTARY),
    "rope-mixed": ("swin v1", ROTARY),
    "shaw-kv": ("vit", CONTEXTUAL),
    "swin-log-cpb": ("swin v2", STATIC),
    "swin-table": ("swin v1", STATIC),
}
INDEX_ARITHMETIC = {
    "Cos",
    "Expand",
    "GatherElements",
    "GatherND",
    "NonZero",
    "OneHot",
    "Range",
    "ScatterElements",
    "ScatterND",
    "Shape",
    "Sigmoid",
    "Sin",
    "Where",
}


def config_of(where: str, encodings: dict[str, dict[str, object]]) -> ViTConfig | SwinConfig:
    return NETWORKS[where].model_copy(update={"encodings": encodings})


def network_of(where: str, name: str) -> nn.Module:
    network = build_network(config_of(where, {name: {}})).eval()
    randomise(network, seed=3)
    return network.double()


def without_position(where: str, network: nn.Module) -> nn.Module:
    """Return a network with the same weights and no encoding, equivalent to tables of zeros."""
    bare = build_network(config_of(where, {})).eval().double()
    unused = bare.load_state_dict(network.state_dict(), strict=False).unexpected_keys
    assert all("encoding." in key or "position." in key for key in unused)
    return bare


def images_for(where: str) -> Tensor:
    """Return images for all batches in one tensor; see `in_batches`."""
    generator = torch.Generator().manual_seed(5)
    return torch.randn(sum(BATCHES), 3, *NETWORKS[where].image_size, generator=generator)


def in_batches(images: Tensor) -> tuple[Tensor, ...]:
    return torch.split(images, list(BATCHES))


def reference(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = network(images.double())
    return logits


@pytest.mark.parametrize("where", NETWORKS)
@pytest.mark.parametrize("name", NAMES)
def test_every_encoding_affects_the_logits_of_every_network(name: str, where: str) -> None:
    network, images = network_of(where, name), images_for(where)
    expected = reference(network, images)
    effect = relative_error(reference(without_position(where, network), images), expected)
    assert effect > 100 * TOLERANCE if name != "none" else effect == 0


@functools.cache
def bare_ops(where: str) -> Counter[str]:
    """Return the operator counts of a network's graph without an encoding."""
    return ops_of(baked_graph(network_of(where, "none").float(), NETWORKS[where].image_size))


def ops_of(graph: ir.Model) -> Counter[str]:
    return Counter(describe_graph(graph).ops)


@pytest.mark.parametrize("name", GRAPHS)
def test_the_graph_keeps_only_nodes_that_depend_on_the_image(name: str) -> None:
    where, may_add = GRAPHS[name]
    network, images = network_of(where, name), images_for(where)
    expected = reference(network, images)
    built = built_graph(network.float(), NETWORKS[where].image_size)
    graph, report = built.model, report_constants(network, built.constants)
    facts = describe_graph(graph)
    assert (facts.constant_only_nodes, facts.table_gathers) == (0, 0)
    assert INDEX_ARITHMETIC.isdisjoint(facts.ops)

    added, removed = ops_of(graph) - bare_ops(where), bare_ops(where) - ops_of(graph)
    assert set(added) <= may_add
    assert set(removed) <= {"Reshape", "Split", "Transpose"}  # data movement differs from graph to graph
    if may_add >= CONTEXTUAL:
        assert added["MatMul"] >= 1
        assert added["Gather"] >= 1

    constants = {tuple(value.shape or ()) for value in graph.graph.initializers.values()}
    assert [line.kind for line in report if "attention" in line.module or line.module == "position"]
    assert all(line.shape in constants for line in report)

    session = open_graph(graph)
    for batch, wanted in zip(in_batches(images), in_batches(expected), strict=True):
        assert relative_error(run_graph(session, batch), wanted) < TOLERANCE


def test_every_family_is_exported() -> None:
    families = {name.split("-")[0] for name in ENCODINGS} - {"none", "sincos"}  # sincos is exported like learned
    assert {name.split("-")[0] for name in GRAPHS} == families
