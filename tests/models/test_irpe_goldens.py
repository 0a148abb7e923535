"""iRPE against tensors made by the authors' implementation."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from models import ViTConfig, build_network
from models.encodings import Place
from models.encodings.irpe import product_buckets
from tests.models.goldens import irpe_goldens

PUBLISHED_NAMES = {
    "attn.rpe_k.lookup_table_weight": "attention.encoding.table",
    "attn.": "attention.",
    "pos_embed": "position.table",
}


def test_product_buckets_are_the_authors() -> None:
    folder = irpe_goldens()
    cases = [case for case in json.loads((folder / "irpe_bucket_ids.json").read_text()) if case["method"] == "product"]
    assert len(cases) == 2
    with np.load(folder / "irpe_bucket_ids.npz") as arrays:
        for case in cases:
            at = Place((case["height"], case["width"]), case["skip"], width=48, num_heads=3)
            buckets, count = product_buckets(at, case["alpha"], case["beta"], case["gamma"])
            assert count == case["num_buckets"]
            assert np.array_equal(buckets.numpy(), arrays[case["key"]])


def authors_network() -> tuple[nn.Module, Tensor, Tensor]:
    """Return their small DeiT with product mapping, contextual on keys, in our modules; an input and its logits."""
    folder = irpe_goldens()
    facts = next(
        entry
        for entry in json.loads((folder / "models.json").read_text())
        if (entry["method"], entry["mode"], entry["on"]) == ("product", "ctx", "k")
    )
    tensors = load_file(folder / facts["file"])
    config = ViTConfig(
        image_size=(facts["image_size"], facts["image_size"]),
        patch_size=facts["patch_size"],
        width=facts["embed_dim"],
        depth=facts["depth"],
        num_heads=facts["num_heads"],
        num_classes=facts["num_classes"],
        mlp_ratio=facts["mlp_ratio"],
        layer_norm_eps=facts["layer_norm_eps"],
        pool="cls",
        encodings={"learned": {}, "irpe-product-contextual-k": {"ratio": facts["ratio"], "shared": facts["shared"]}},
    )
    state = {}
    for key, tensor in tensors.items():
        if key.startswith("model."):
            renamed = key.removeprefix("model.")
            for theirs, ours in PUBLISHED_NAMES.items():
                renamed = renamed.replace(theirs, ours)
            state[renamed] = tensor
    network = build_network(config).eval()
    network.load_state_dict(state)
    return network, tensors["input"], tensors["logits"]


def test_the_authors_network_gives_the_authors_logits() -> None:
    network, images, expected = authors_network()
    with torch.no_grad():
        logits = network.double()(images.double())
        torch.testing.assert_close(logits, expected.double(), rtol=0, atol=2e-5 * float(expected.abs().max()))
        for name, parameter in network.named_parameters():
            if name.endswith("encoding.table"):
                parameter.zero_()
        with pytest.raises(AssertionError):  # the tables matter, so the comparison above is able to fail
            torch.testing.assert_close(network(images.double()), logits, rtol=0, atol=2e-3)
