"""`cream:` loads the iRPE authors' checkpoints and reproduces their logits."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from export.to_onnx import main
from models.encodings import Encoding
from models.encodings.irpe import IRPE
from models.sources import Checkpoint, Overrides, RandomWeights, SourceError, load_source
from models.sources.cream import PUBLISHED
from tests.models.goldens import irpe_goldens
from tests.models.sources.libraries import relative_error

pytestmark = pytest.mark.slow

TOLERANCE = 2e-5  # relative to the largest logit; stored and computed in float32
NETWORKS = [("product", "ctx", "k"), ("product", "ctx", "qkv"), ("cross", "ctx", "qk"), ("euc", "bias", "k")]
NETWORKS += [("quant", "ctx", "q")]


def golden(method: str, mode: str, on: str, folder: Path) -> tuple[dict[str, Any], Path, Tensor, Tensor]:
    """Return the configuration of an authors' network, a checkpoint of its weights, an input and its logits."""
    entries = json.loads((irpe_goldens() / "models.json").read_text())
    wanted = (method, mode, sorted(on))
    [entry] = [entry for entry in entries if (entry["method"], entry["mode"], sorted(entry["on"])) == wanted]
    tensors = load_file(irpe_goldens() / entry["file"])
    checkpoint = folder / "weights.pth"
    state = {key.removeprefix("model."): value for key, value in tensors.items() if key.startswith("model.")}
    torch.save({"model": state}, checkpoint)
    return entry, checkpoint, tensors["input"], tensors["logits"]


def config_file(entry: dict[str, Any], folder: Path) -> Path:
    file = folder / "irpe.json"
    file.write_text(json.dumps(entry))
    return file


def test_every_reference_network_is_tested() -> None:
    entries = json.loads((irpe_goldens() / "models.json").read_text())
    assert {(entry["method"], entry["mode"], "".join(sorted(entry["on"]))) for entry in entries} == {
        (method, mode, "".join(sorted(on))) for method, mode, on in NETWORKS
    }


@pytest.mark.parametrize(("method", "mode", "on"), NETWORKS)
def test_the_authors_networks_give_the_authors_logits(method: str, mode: str, on: str, tmp_path: Path) -> None:
    entry, checkpoint, images, expected = golden(method, mode, on, tmp_path)
    loaded = load_source("cream:custom", Checkpoint(checkpoint), Overrides(config=config_file(entry, tmp_path)))
    network = loaded.network
    with torch.no_grad():
        assert relative_error(network(images), expected) < TOLERANCE
        for module in network.modules():
            if isinstance(module, IRPE):
                for table in module.parameters():
                    table.zero_()
        # The tables affect the logits, so the comparison above is able to fail.
        assert relative_error(network(images), expected) > 100 * TOLERANCE


def test_a_file_with_input_and_logits_beside_the_weights_is_loaded(tmp_path: Path) -> None:
    entry, _, images, expected = golden("product", "ctx", "k", tmp_path)
    weights = Checkpoint(irpe_goldens() / entry["file"])
    loaded = load_source("cream:custom", weights, Overrides(config=config_file(entry, tmp_path)))
    with torch.no_grad():
        assert relative_error(loaded.network(images), expected) < TOLERANCE


@pytest.mark.parametrize(("method", "mode", "on"), NETWORKS)
def test_the_exported_graph_gives_the_authors_logits(method: str, mode: str, on: str, tmp_path: Path) -> None:
    entry, checkpoint, images, expected = golden(method, mode, on, tmp_path)
    arguments = ["cream:custom", "--config", str(config_file(entry, tmp_path)), "--checkpoint", str(checkpoint)]
    assert main([*arguments, "--input", "float32", "--output", str(tmp_path / "out"), "--quiet"]) == 0
    [graph] = (tmp_path / "out").rglob("model.onnx")
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    for batch in (1, 2, 3):
        [logits] = session.run(["logits"], {"image": images[:batch].numpy()})
        assert relative_error(torch.from_numpy(np.asarray(logits)), expected[:batch]) < TOLERANCE


def test_a_custom_network_resizes_whole_images_and_a_published_one_crops_the_centre(tmp_path: Path) -> None:
    custom = load_source("cream:custom", RandomWeights(1), Overrides(config=config_file(SMALL, tmp_path)))
    assert (custom.preprocess.resize, custom.preprocess.crop) == ((32, 32), None)
    published = load_source("cream:deit_tiny_patch16_224_ctx_product_50_shared_k", RandomWeights(1), Overrides())
    assert (published.preprocess.resize, published.preprocess.crop) == (256, (224, 224))
    assert published.encoding == "learned+irpe-product-contextual-k"
    assert published.network.state_dict()["blocks.0.attention.encoding.k.product.table"].shape == (1, 64, 50)


SMALL = {
    "method": "product",
    "mode": "ctx",
    "on": "vk",
    "shared": True,
    "ratio": 1.9,
    "image_size": 32,
    "patch_size": 8,
    "embed_dim": 24,
    "depth": 2,
    "num_heads": 3,
    "num_classes": 5,
    "mlp_ratio": 2,
    "qkv_bias": False,
    "layer_norm_eps": 1e-6,
}


def test_targets_may_be_in_any_order_and_biases_absent(tmp_path: Path) -> None:
    loaded = load_source("cream:custom", RandomWeights(1), Overrides(config=config_file(SMALL, tmp_path)))
    assert loaded.encoding == "learned+irpe-product-contextual-kv"
    assert "blocks.0.attention.qkv.bias" not in loaded.network.state_dict()
    assert loaded.name == "cream:irpe"


def test_another_image_size_resamples_the_embedding_and_keeps_the_tables(tmp_path: Path) -> None:
    entry, checkpoint, *_ = golden("product", "ctx", "k", tmp_path)
    overrides = Overrides(image_size=(48, 32), config=config_file(entry, tmp_path))
    loaded = load_source("cream:custom", Checkpoint(checkpoint), overrides)
    assert loaded.image_size == loaded.preprocess.size == (48, 32)
    assert loaded.resampled == ("position embedding from 8×8 to 12×8 tokens, bicubic with antialiasing",)
    theirs = load_file(irpe_goldens() / entry["file"])
    ours = loaded.network.state_dict()
    assert ours["position.table"].shape == (1, 1 + 12 * 8, 48)
    assert torch.equal(ours["position.table"][:, 0], theirs["model.pos_embed"][:, 0])
    for block in range(entry["depth"]):
        table = ours[f"blocks.{block}.attention.encoding.k.product.table"]
        assert torch.equal(table, theirs[f"model.blocks.{block}.attn.rpe_k.lookup_table_weight"])


def test_a_truncated_checkpoint_is_refused_with_the_authors_keys(tmp_path: Path) -> None:
    entry, _, *_ = golden("product", "ctx", "k", tmp_path)
    state = load_file(irpe_goldens() / entry["file"])
    del state["model.blocks.0.attn.rpe_k.lookup_table_weight"], state["model.pos_embed"]
    state["model.blocks.0.attn.rpe_q.lookup_table_weight"] = torch.zeros(1, 16, 50)
    save_file(state, tmp_path / "cut.safetensors")
    overrides = Overrides(config=config_file(entry, tmp_path))
    with pytest.raises(SourceError) as caught:
        load_source("cream:custom", Checkpoint(tmp_path / "cut.safetensors"), overrides)
    assert "missing: pos_embed, blocks.0.attn.rpe_k.lookup_table_weight; unexpected" in str(caught.value)
    assert "unexpected: blocks.0.attn.rpe_q.lookup_table_weight" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "polar"}, "method: "),
        ({"head": 3}, "head: Extra inputs"),
        ({"on": "kk"}, "on is 'kk'"),
        ({"mode": "bias"}, "bias on values does not exist"),
        ({"embed_dim": 25}, "3 heads do not divide the width 25"),
        ({"patch_size": 5}, "not a multiple of the patch size 5"),
    ],
)
def test_an_invalid_configuration_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=message):
        load_source("cream:custom", RandomWeights(1), Overrides(config=config_file(SMALL | change, tmp_path)))


def test_every_key_of_a_configuration_is_required(tmp_path: Path) -> None:
    without = {key: value for key, value in SMALL.items() if key != "ratio"}
    with pytest.raises(SourceError, match="ratio: Field required"):
        load_source("cream:custom", RandomWeights(1), Overrides(config=config_file(without, tmp_path)))


def test_config_is_required_for_custom_and_refused_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="--config FILE"):
        load_source("cream:custom", RandomWeights(1), Overrides())
    file = config_file(SMALL, tmp_path)
    for source in ("posbake:vit_small_patch16_224", f"cream:{next(iter(PUBLISHED))}"):
        with pytest.raises(SourceError, match="--config is for cream:custom only"):
            load_source(source, RandomWeights(1), Overrides(config=file))


def test_an_unpublished_name_is_refused_with_the_published_ones() -> None:
    with pytest.raises(SourceError, match="known: deit_tiny_patch16_224_ctx_product_50_shared_k, deit_small"):
        load_source("cream:deit_huge", RandomWeights(1), Overrides())


def test_random_tables_have_large_entries(tmp_path: Path) -> None:
    network = load_source("cream:custom", RandomWeights(1), Overrides(config=config_file(SMALL, tmp_path))).network
    tables = [p for module in network.modules() if isinstance(module, Encoding) for p in module.parameters()]
    assert all(table.std() > 0.3 for table in tables)
