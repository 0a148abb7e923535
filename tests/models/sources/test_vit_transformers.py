"""transformers' ViT, BEiT and Data2Vec give the same logits in ours."""

import re
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    BeitConfig,
    BeitForImageClassification,
    Data2VecVisionConfig,
    Data2VecVisionForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

from models.sources.base import SourceError
from models.sources.checkpoints.buffers import without_computed
from models.sources.families import TRANSFORMERS
from tests.models.sources.oracles import check_same, randomise_library, recognised

SMALL = {
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 100,
    "num_labels": 7,
}
TABLES = {"use_relative_position_bias": True}
CLASSES: dict[str, tuple[Any, Any]] = {
    "vit": (ViTConfig, ViTForImageClassification),
    "beit": (BeitConfig, BeitForImageClassification),
    "data2vec": (Data2VecVisionConfig, Data2VecVisionForImageClassification),
}
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("vit", {}),
    "vit, oblong": ("vit", {"image_size": (32, 48)}),
    "vit without biases": ("vit", {"qkv_bias": False, "layer_norm_eps": 1e-6}),
    "beit": ("beit", TABLES),
    "beit, one table for all": ("beit", {"use_shared_relative_position_bias": True, "use_mean_pooling": False}),
    "beit, everything": (
        "beit",
        TABLES | {"use_shared_relative_position_bias": True, "use_absolute_position_embeddings": True},
    ),
    "beit without layer scale": ("beit", TABLES | {"layer_scale_init_value": 0.0, "use_mask_token": True}),
    "data2vec": ("data2vec", TABLES),
    "data2vec, one table for all": ("data2vec", {"use_shared_relative_position_bias": True}),
    "data2vec, everything": (
        "data2vec",
        TABLES
        | {
            "use_shared_relative_position_bias": True,
            "use_absolute_position_embeddings": True,
            "use_mean_pooling": False,
            "use_mask_token": True,
        },
    ),
}


def library(kind: str, **options: object) -> nn.Module:
    config, network = CLASSES[kind]
    model: nn.Module = network(config(**SMALL | options))
    randomise_library(model)
    return model


@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_weights_give_the_same_logits(name: str) -> None:
    kind, options = NETWORKS[name]
    model = library(kind, **options)
    check_same(model, recognised(model, TRANSFORMERS))


def test_a_network_with_other_parts_is_refused() -> None:
    with pytest.raises(SourceError, match="exact GELU"):
        recognised(library("vit", hidden_act="relu"), TRANSFORMERS)
    with pytest.raises(SourceError, match="exact GELU"):
        recognised(library("beit", hidden_act="gelu_new"), TRANSFORMERS)
    with pytest.raises(SourceError, match="images that are not square"):
        recognised(library("beit", image_size=(32, 48), **TABLES), TRANSFORMERS)


OLD_KEYS = (
    (r"\.layers\.", ".encoder.layer."),
    (r"\.q_proj\.", ".attention.query."),
    (r"\.k_proj\.", ".attention.key."),
    (r"\.v_proj\.", ".attention.value."),
    (r"\.o_proj\.", ".output.dense."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
    (r"(\.layer\.\d+)\.relative_position_bias\.", r"\1.attention.attention.relative_position_bias."),
    (r"\.shared_position_bias\.", ".encoder.relative_position_bias."),
)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("vit", {}), ("beit", TABLES), ("beit", TABLES | {"use_shared_relative_position_bias": True})],
)
def test_the_keys_of_files_of_transformers_4_are_taken(kind: str, options: dict[str, Any]) -> None:
    model = library(kind, **options)
    state = model.state_dict()
    old = {}
    for key, tensor in state.items():
        for pattern, replacement in OLD_KEYS:
            key = re.sub(pattern, replacement, key)
        old[key] = tensor
        if key.endswith("relative_position_bias_table"):
            old[key.replace("bias_table", "index")] = torch.zeros(17, 17)
    assert old.keys() != state.keys()
    adopted = without_computed(recognised(model, TRANSFORMERS).adopt(old))
    assert adopted.keys() == state.keys()
    assert all(torch.equal(adopted[key], tensor) for key, tensor in state.items())
