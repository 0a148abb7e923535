"""transformers' ViT, DeiT, BEiT, Data2Vec and Swin at other sizes than those of training, and keys of older files."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.layers.pos_embed_rel import resize_rel_pos_bias_table, resize_rel_pos_bias_table_simple
from timm.models.beit import gen_relative_position_index
from torch import Tensor, nn
from transformers import ViTImageProcessor

from models.sources import Checkpoint, Loaded, Overrides, Pretrained, load_source
from tests.models.sources.libraries import logits_of, randomise_library, relative_error

EXACT = 1e-6  # relative to the largest logit; timm resamples in float32
VIT: dict[str, Any] = {
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 100,
    "num_labels": 3,
}
SWIN: dict[str, Any] = {
    "embed_dim": 24,
    "depths": [2, 2],
    "num_heads": [2, 3],
    "image_size": 64,
    "window_size": 4,
    "num_labels": 3,
}
RELATIVE, SHARED = {"use_relative_position_bias": True}, {"use_shared_relative_position_bias": True}
ABSOLUTE = {"use_absolute_position_embeddings": True, "use_mean_pooling": False}
NETWORKS: dict[str, tuple[str, dict[str, Any], str]] = {
    "vit": ("ViT", VIT, "learned"),
    "vit msn": ("ViTMSN", VIT, "learned"),
    "i-jepa": ("IJepa", VIT, "learned"),
    "deit": ("DeiT", VIT, "learned"),
    "beit": ("Beit", VIT | RELATIVE, "beit-table"),
    "beit, everything": ("Beit", VIT | RELATIVE | SHARED | ABSOLUTE, "learned+beit-table"),
    "data2vec": ("Data2VecVision", VIT | RELATIVE, "beit-table"),
    "data2vec, everything": ("Data2VecVision", VIT | RELATIVE | SHARED | ABSOLUTE, "learned+beit-table"),
    "swin": ("Swin", SWIN, "swin-table"),
    "swin, absolute": ("Swin", SWIN | {"use_absolute_embeddings": True}, "learned+swin-table"),
    "swin v2": ("Swinv2", SWIN | {"pretrained_window_sizes": [0, 0]}, "swin-log-cpb"),
}


def build(name: str, **options: Any) -> nn.Module:  # noqa: ANN401
    kind, own, _ = NETWORKS[name]
    config = getattr(transformers, f"{kind}Config")(**own | options)
    network: nn.Module = getattr(transformers, f"{kind}ForImageClassification")(config)
    return network.eval()


def trained(name: str, folder: Path, **options: Any) -> nn.Module:  # noqa: ANN401
    """Save a network with weights and preprocessing, and return it."""
    network: Any = build(name, **options)
    randomise_library(network)
    network.save_pretrained(folder)
    side = network.config.image_size
    ViTImageProcessor(size={"height": side, "width": side}).save_pretrained(folder)
    return network  # type: ignore[no-any-return]


def load(folder: Path, image_size: tuple[int, int] | None = None, window_size: int | None = None) -> Loaded:
    return load_source(f"transformers:{folder}", Pretrained(), Overrides(image_size, window_size))


def resampled(state: dict[str, Tensor], size: tuple[int, int], window: int | None = None) -> dict[str, Tensor]:
    """Return weights for another image and window size, with tables resampled by timm's functions."""
    patch = 8 if window is None else 4
    rows, columns = size[0] // patch, size[1] // patch
    new = {}
    for key, tensor in state.items():
        new[key] = tensor
        if key.endswith("position_embeddings"):
            extra = tensor.shape[1] - (16 if window is None else 256)
            before = [4, 4] if window is None else [16, 16]
            new[key] = resample_abs_pos_embed(tensor, [rows, columns], before, num_prefix_tokens=extra)
        elif key.endswith("relative_position_bias_table"):
            heads = tensor.shape[1]
            if window is None:
                offsets = (2 * rows - 1) * (2 * columns - 1) + 3
                new[key] = resize_rel_pos_bias_table(tensor, (rows, columns), (offsets, heads))
            else:
                new[key] = resize_rel_pos_bias_table_simple(tensor, (window, window), ((2 * window - 1) ** 2, heads))
    return new


def errors(loaded: Loaded, theirs: nn.Module) -> list[float]:
    """Return the largest relative error at batches 1 and 3, in float64."""
    images = torch.randn(3, 3, *loaded.image_size, generator=torch.Generator().manual_seed(3)).double()
    network, expected = loaded.network.double(), theirs.double()
    return [relative_error(logits_of(network, images[:n]), logits_of(expected, images[:n])) for n in (1, 3)]


@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence:UserWarning")
@pytest.mark.filterwarnings("ignore:torch.searchsorted:UserWarning")  # both in timm's interpolation of tables
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_at_another_size_equals_transformers(name: str, tmp_path: Path) -> None:
    model, window = trained(name, tmp_path), 6 if "swin" in name else None
    size: tuple[int, int] = (64, 64) if window is None else (96, 96)
    more: dict[str, Any] = {} if window is None else {"window_size": window}
    if name == "swin v2":
        more["pretrained_window_sizes"] = [4, 4]
    theirs = build(name, image_size=size[0], **more)
    theirs.load_state_dict(resampled(model.state_dict(), size, window))
    loaded = load(tmp_path, size, window)
    assert max(errors(loaded, theirs)) < EXACT
    assert loaded.encoding == NETWORKS[name][2]
    assert loaded.image_size == loaded.preprocess.size == size
    assert len(loaded.resampled) == 1 + ("+" in loaded.encoding)
    with torch.no_grad():
        for key, table in theirs.named_parameters():
            if "position" in key:
                table.zero_()
    assert max(errors(loaded, theirs)) > 100 * EXACT  # the comparison is able to fail


def test_fine_tuned_windows_of_version_2_keep_the_units_of_pretraining(tmp_path: Path) -> None:
    model = trained("swin v2", tmp_path, pretrained_window_sizes=[3, 2])
    theirs = build("swin v2", image_size=96, window_size=6, pretrained_window_sizes=[3, 2])
    theirs.load_state_dict(model.state_dict())
    assert max(errors(load(tmp_path, (96, 96), 6), theirs)) < EXACT


def test_windows_of_version_1_shrink_to_the_grid_where_transformers_fails(tmp_path: Path) -> None:
    model: Any = trained("swin", tmp_path)
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with pytest.raises(RuntimeError):
        build("swin", image_size=16)(images)
    loaded = load(tmp_path, (16, 16))
    assert loaded.resampled == ("relative position tables of stage 1 from 4×4 to 2×2 windows, bicubic",)
    key = "swin.encoder.layers.1.blocks.0.attention.relative_position_bias.relative_position_bias_table"
    network: Any = loaded.network
    table = network.network.get_parameter(key)
    torch.testing.assert_close(
        table, resize_rel_pos_bias_table_simple(model.state_dict()[key], (2, 2), (9, 3)), rtol=0, atol=1e-6
    )
    assert logits_of(loaded.network, images).isfinite().all()


@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence:UserWarning")
@pytest.mark.filterwarnings("ignore:torch.searchsorted:UserWarning")
@pytest.mark.parametrize("name", [name for name in NETWORKS if "beit" in name or "data2vec" in name])
def test_resampled_tables_are_used_unchanged_for_oblong_images(name: str, tmp_path: Path) -> None:
    model = trained(name, tmp_path)
    loaded = load(tmp_path, (48, 24))
    network: Any = loaded.network
    network, body = network.network, network.network.base_model
    expected = resampled(model.state_dict(), (48, 24))
    index = gen_relative_position_index((6, 3))
    found = 0
    for path, module in body.named_modules():
        if hasattr(module, "relative_position_bias_table"):
            table = expected[f"{network.base_model_prefix}.{path}.relative_position_bias_table"]
            with torch.no_grad():
                bias = module((6, 3))[0]
            torch.testing.assert_close(bias, table[index].permute(2, 0, 1), rtol=0, atol=1e-5)
            with pytest.raises(AssertionError):  # the comparison is able to fail
                torch.testing.assert_close(bias.flip(0), table[index].permute(2, 0, 1), rtol=0, atol=1e-5)
            found += 1
    assert found
    embedding = body.embeddings.position_embeddings
    if embedding is not None:
        key = f"{network.base_model_prefix}.embeddings.position_embeddings"
        torch.testing.assert_close(
            body.embeddings.interpolate_pos_encoding(torch.zeros(1, 19, 48), 48, 24), expected[key], rtol=0, atol=1e-5
        )
    images = torch.randn(2, 3, 48, 24, generator=torch.Generator().manual_seed(1))
    assert logits_of(loaded.network, images).isfinite().all()


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


@pytest.mark.parametrize(("name", "options"), [("vit", {}), ("beit", {}), ("beit", SHARED)])
def test_the_keys_of_files_of_transformers_4_are_accepted(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    model = trained(name, tmp_path, **options)
    old = {}
    for key, tensor in load_file(tmp_path / "model.safetensors").items():
        renamed = key
        for pattern, replacement in OLD_KEYS:
            renamed = re.sub(pattern, replacement, renamed)
        old[renamed] = tensor
        if renamed.endswith("relative_position_bias_table"):
            index = gen_relative_position_index((4, 4))
            old[renamed.replace("bias_table", "index")] = index.contiguous()
    assert any("encoder.layer" in key for key in old)
    save_file(old, tmp_path / "old.safetensors")
    loaded = load_source(f"transformers:{tmp_path}", Checkpoint(tmp_path / "old.safetensors"), Overrides())
    assert max(errors(loaded, model)) == 0
