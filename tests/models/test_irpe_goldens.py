"""iRPE against tensors of the authors' implementation: buckets, and whole networks in torch and in ONNX Runtime."""

import copy
import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from models.encodings import Encoding, Place
from models.encodings.irpe_buckets import irpe_buckets
from models.sources import Checkpoint, Overrides, load_source
from tests.export.graphs import baked_graph, open_graph, run_graph
from tests.models.goldens import irpe_goldens

pytestmark = pytest.mark.slow

TOLERANCE = 2e-5  # of the largest logit: the reference is stored in float32, and ONNX Runtime computes in it
NETWORKS = [
    "deit_irpe_product_ctx_k_shared_r1.9",
    "deit_irpe_product_ctx_qkv_shared_r1.9",
    "deit_irpe_cross_ctx_qk_perhead_r1.9",
    "deit_irpe_euc_bias_k_perhead_r1.9",
    "deit_irpe_quant_ctx_q_shared_r1.9",
]
MAPPING_AND_PART = {"cross_rows": ("cross", "rows"), "cross_cols": ("cross", "columns")}


def listed_networks() -> dict[str, dict[str, Any]]:
    entries = json.loads((irpe_goldens() / "models.json").read_text())
    return {entry["file"].removesuffix(".safetensors"): entry for entry in entries}


def test_all_buckets_are_the_authors() -> None:
    folder = irpe_goldens()
    cases = json.loads((folder / "irpe_bucket_ids.json").read_text())
    assert len(cases) == 6
    with np.load(folder / "irpe_bucket_ids.npz") as arrays:
        assert sorted(arrays) == sorted(case["key"] for case in cases)
        for case in cases:
            mapping, part = MAPPING_AND_PART.get(case["method"], (case["method"],) * 2)
            place = Place((case["height"], case["width"]), case["skip"], width=48, num_heads=3)
            limits = (case["alpha"], case["beta"], case["gamma"])
            buckets = irpe_buckets(cast("Any", mapping), place, "piecewise", limits, "squared")[part]
            assert buckets.count == case["num_buckets"]
            assert np.array_equal(buckets.index.numpy(), arrays[case["key"]])
            clipped = irpe_buckets(cast("Any", mapping), place, "clip", limits, "squared")[part]
            if case["method"] != "quantization":  # with β = 3, squares are cut to 3 either way
                assert not np.array_equal(clipped.index.numpy(), arrays[case["key"]])  # so the comparison can fail


def test_all_networks_are_tested() -> None:
    assert list(listed_networks()) == NETWORKS


@pytest.fixture(scope="module", params=NETWORKS)
def authors(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    """A network of the authors in our modules, and the file with its weights, input and logits."""
    facts = listed_networks()[request.param]
    config = tmp_path_factory.mktemp("cream") / "config.json"
    config.write_text(json.dumps(facts))
    file = irpe_goldens() / facts["file"]
    return load_source("cream:custom", Checkpoint(file), Overrides(config=config)).network, file


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected.double()).abs().max() / expected.abs().max())


def without_tables(network: nn.Module) -> nn.Module:
    """Return a copy whose relative tables are zero; the absolute embedding stays."""
    copied = copy.deepcopy(network)
    with torch.no_grad():
        for module in copied.modules():
            if isinstance(module, Encoding) and module.acts_on == "attention":
                for parameter in module.parameters():
                    parameter.zero_()
    return copied


def test_torch_gives_the_authors_logits(authors: tuple[nn.Module, Path]) -> None:
    network, file = authors
    tensors = load_file(file)
    with torch.no_grad():
        logits = copy.deepcopy(network).double()(tensors["input"].double())
        zeroed = without_tables(network).double()(tensors["input"].double())
    assert relative_error(logits, tensors["logits"]) < TOLERANCE
    assert relative_error(zeroed, tensors["logits"]) > 100 * TOLERANCE  # the tables matter


def test_the_exported_graph_gives_the_authors_logits(authors: tuple[nn.Module, Path]) -> None:
    network, file = authors
    tensors = load_file(file)
    session = open_graph(baked_graph(network, (32, 32)))
    assert relative_error(run_graph(session, tensors["input"]), tensors["logits"]) < TOLERANCE
