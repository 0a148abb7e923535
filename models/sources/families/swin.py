"""Swin v1 and v2 of timm, torchvision, transformers, and of the authors' repository, whose keys timm's names take too.

What they do differently, and what it becomes here:

- merging stands at the end of a stage (the authors, transformers), between stages (torchvision) or at the start (timm,
  ours); the four tokens it joins stand column by column everywhere;
- v2 has no key bias: three libraries leave it out, torchvision multiplies it by zero; ours is zero;
- transformers adds the shift mask of v2 twice;
- a window larger than its stage's grid becomes the grid: `window_size` names the windows as they are.

Keys are renamed by rules, each a pattern and its replacement, applied in order to every key.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from models.config import SwinConfig
from models.sources.base import SourceError
from models.sources.families.base import Rehosted, State
from models.sources.families.swin_sizes import LOG_CPB, TABLE

Rules = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]

FROM_TIMM: Rules = (
    (r"^patch_embed\.norm\.", "embed_norm."),
    (r"^layers\.(\d+)\.", r"stages.\1."),
    (r"\.downsample\.", ".merge."),
    (r"\.attn\.", ".attention."),
    (r"\.relative_position_bias_table$", ".encoding.table"),
    (r"\.cpb_mlp\.", ".encoding.mlp."),
    (r"\.([qv])_bias$", r".\1.bias"),
    (r"^head\.fc\.", "head."),
)
FROM_AUTHORS_TO_TIMM: Rules = (
    (r"^layers\.(\d+)\.downsample\.", lambda found: f"layers.{int(found[1]) + 1}.downsample."),
    (r"^head\.(weight|bias)$", r"head.fc.\1"),
)
FROM_TORCHVISION: Rules = (
    (r"^features\.0\.0\.", "patch_embed.proj."),
    (r"^features\.0\.2\.", "embed_norm."),
    (r"^features\.(\d+)\.(\d+)\.", lambda found: f"stages.{int(found[1]) // 2}.blocks.{found[2]}."),
    (r"^features\.(\d+)\.", lambda found: f"stages.{int(found[1]) // 2}.merge."),
    (r"\.attn\.", ".attention."),
    (r"\.relative_position_bias_table$", ".encoding.table"),
    (r"\.cpb_mlp\.", ".encoding.mlp."),
    (r"(\.\d+)\.mlp\.0\.", r"\1.mlp.fc1."),
    (r"(\.\d+)\.mlp\.3\.", r"\1.mlp.fc2."),
)
FROM_TRANSFORMERS: Rules = (
    (r"^swin(v2)?\.", ""),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.norm\.", "embed_norm."),
    (r"^encoder\.layers\.(\d+)\.downsample\.", lambda found: f"stages.{int(found[1]) + 1}.merge."),
    (r"^encoder\.layers\.", "stages."),
    (r"\.attention\.([qkv])_proj\.", r".attention.\1."),
    (r"\.attention\.o_proj\.", ".attention.proj."),
    (r"\.relative_position_bias\.relative_position_bias_table$", ".encoding.table"),
    (r"\.attention\.self\.(q|k|v)(uery|ey|alue)\.", r".attention.\1."),
    (r"\.attention\.self\.continuous_position_bias_mlp\.", ".attention.encoding.mlp."),
    (r"\.attention\.self\.", ".attention."),
    (r"\.attention\.output\.dense\.", ".attention.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"^layernorm\.", "norm."),
    (r"^classifier\.", "head."),
)


class _Stage(NamedTuple):
    """What a library says of one stage. Windows are (rows, columns) in tokens."""

    depth: int
    num_heads: int
    window: tuple[int, int]
    trained_window: tuple[int, int] = (0, 0)  # of version 2, where it differs; (0, 0) says that it does not


def from_timm(model: nn.Module, image_size: tuple[int, int]) -> Rehosted | None:
    """Recognise timm's `swin_*`, `swin_s3_*` and `swinv2_*` (not `swinv2_cr_*`, another architecture)."""
    from timm.models.swin_transformer import SwinTransformer
    from timm.models.swin_transformer_v2 import SwinTransformerV2

    if not isinstance(model, SwinTransformer | SwinTransformerV2):
        return None
    swin: Any = model
    version = 2 if isinstance(model, SwinTransformerV2) else 1
    first = [(len(layer.blocks), layer.blocks[0]) for layer in swin.layers]
    config = _config(
        model,
        version,
        stages=[
            _Stage(
                depth,
                block.attn.num_heads,
                tuple(block.window_size),
                tuple(block.attn.pretrained_window_size) if version == 2 else (0, 0),
            )
            for depth, block in first
        ],
        embedding=swin.patch_embed.proj,
        image_size=image_size,
        num_classes=swin.num_classes,
        mlp_ratio=first[0][1].mlp_ratio,
    )
    return Rehosted(config, lambda state: _join_qkv(_renamed(state, FROM_TIMM)), _adopt_authors)


def from_torchvision(model: nn.Module, image_size: tuple[int, int]) -> Rehosted | None:
    """Recognise torchvision's `swin_t`, `swin_s`, `swin_b` and `swin_v2_t`, `swin_v2_s`, `swin_v2_b`."""
    from torchvision.models.swin_transformer import SwinTransformer, SwinTransformerBlockV2

    if not isinstance(model, SwinTransformer):
        return None
    swin: Any = model
    stages = [(len(stage), stage[0]) for stage in swin.features[1::2]]
    version = 2 if isinstance(stages[0][1], SwinTransformerBlockV2) else 1
    block = stages[0][1]
    config = _config(
        model,
        version,
        stages=[_Stage(depth, first.attn.num_heads, tuple(first.attn.window_size)) for depth, first in stages],
        embedding=swin.features[0][0],
        image_size=image_size,
        num_classes=swin.num_classes,
        mlp_ratio=block.mlp[0].out_features / block.mlp[0].in_features,
    )
    grid = min(image_size) // config.patch_size // 2 ** (len(stages) - 1)
    if grid < max(stages[-1][1].attn.window_size):
        raise SourceError(f"its windows are larger than the last grid of {grid} tokens, which torchvision pads")

    def map_state(state: State) -> dict[str, Tensor]:
        mapped = _renamed(state, FROM_TORCHVISION)
        return _without_key_bias(mapped) if version == 2 else mapped

    return Rehosted(config, map_state)


def from_transformers(model: nn.Module, image_size: tuple[int, int]) -> Rehosted | None:
    """Recognise transformers' `SwinForImageClassification` and `Swinv2ForImageClassification`."""
    from transformers import SwinForImageClassification, Swinv2ForImageClassification

    if not isinstance(model, SwinForImageClassification | Swinv2ForImageClassification):
        return None
    swin: Any = model.base_model
    theirs: Any = model.config
    version = 2 if isinstance(model, Swinv2ForImageClassification) else 1
    if theirs.use_absolute_embeddings:
        raise SourceError("its absolute position embedding is not re-hosted")
    if theirs.hidden_act != "gelu":
        raise SourceError(f"its activation {theirs.hidden_act} is not re-hosted; GELU is")
    if image_size[0] != image_size[1]:
        raise SourceError(f"transformers does not shift the windows of oblong images, here {image_size}, as Swin does")
    embedding = swin.embeddings.patch_embeddings.projection
    grids = [image_size[0] // embedding.kernel_size[0] // 2**stage for stage in range(len(theirs.depths))]
    windows = [min(grid, theirs.window_size) for grid in grids]
    if version == 1 and min(windows) < theirs.window_size:
        raise SourceError(f"its windows are larger than the last grid of {grids[-1]} tokens, where transformers fails")
    trained = theirs.pretrained_window_sizes[: len(grids)] if version == 2 else [0] * len(grids)
    config = _config(
        model,
        version,
        stages=[
            _Stage(depth, heads, (window, window), (before, before))
            for depth, heads, window, before in zip(theirs.depths, theirs.num_heads, windows, trained, strict=True)
        ],
        embedding=embedding,
        image_size=image_size,
        num_classes=theirs.num_labels,
        mlp_ratio=theirs.mlp_ratio,
    )
    if version == 2:
        config = config.model_copy(update={"masked_score": 2 * config.masked_score})
    return Rehosted(config, lambda state: _join_qkv(_renamed(state, FROM_TRANSFORMERS)))


def _config(
    model: nn.Module,
    version: int,
    *,
    stages: list[_Stage],
    embedding: nn.Conv2d,
    image_size: tuple[int, int],
    num_classes: int,
    mlp_ratio: float,
) -> SwinConfig:
    eps = {module.eps for module in model.modules() if isinstance(module, nn.LayerNorm)}
    if len(eps) > 1:
        raise SourceError(f"its norms have different eps, {sorted(eps)}; one for all is re-hosted")
    for what, sides in (("patches", embedding.kernel_size), *(("windows", stage.window) for stage in stages)):
        if len(set(sides)) > 1:
            raise SourceError(f"its {what} of {sides[0]}×{sides[1]} are not re-hosted; square ones are")
    if num_classes < 1 or embedding.in_channels != 3:
        raise SourceError("networks with a classifier, on images of 3 channels, are re-hosted")
    windows = tuple(stage.window[0] for stage in stages)
    trained = tuple(stage.trained_window for stage in stages)
    return SwinConfig(
        image_size=image_size,
        patch_size=embedding.kernel_size[0],
        num_classes=num_classes,
        mlp_ratio=mlp_ratio,
        layer_norm_eps=eps.pop(),
        encodings={LOG_CPB if version == 2 else TABLE: {}},
        version=2 if version == 2 else 1,
        window_size=windows[0] if len(set(windows)) == 1 else windows,
        stage_options=tuple({LOG_CPB: {"pretrained_window": window}} if any(window) else {} for window in trained)
        if any(map(any, trained))
        else (),
        width=embedding.out_channels,
        depths=tuple(stage.depth for stage in stages),
        num_heads=tuple(stage.num_heads for stage in stages),
    )


def _renamed(state: State, rules: Rules) -> dict[str, Tensor]:
    renamed = {}
    for key, tensor in state.items():
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        renamed[key] = tensor
    return renamed


def _adopt_authors(state: State) -> dict[str, Tensor]:
    """Return timm's names, whether `state` has them or the authors'."""
    return _renamed(state, FROM_AUTHORS_TO_TIMM) if "head.weight" in state else dict(state)


def _join_qkv(state: State) -> dict[str, Tensor]:
    """Join what stands as attention.{q,k,v}; a bias that is not there is zero."""
    joined = {key: tensor for key, tensor in state.items() if not re.search(r"\.attention\.[qkv]\.", key)}
    for attention in {key[: found.end()] for key in state if (found := re.search(r"\.attention\.", key))}:
        weight = joined.get(f"{attention}qkv.weight")
        if weight is None:
            weight = torch.cat([state[f"{attention}{letter}.weight"] for letter in "qkv"])
            joined[f"{attention}qkv.weight"] = weight
        if f"{attention}qkv.bias" not in joined:
            none = weight.new_zeros(weight.shape[1])
            joined[f"{attention}qkv.bias"] = torch.cat(
                [state.get(f"{attention}{letter}.bias", none) for letter in "qkv"]
            )
    return joined


def _without_key_bias(state: State) -> dict[str, Tensor]:
    """Set to zero the key's third of every bias of queries, keys and values, which torchvision does on every call."""
    biases = {key: tensor for key, tensor in state.items() if key.endswith(".attention.qkv.bias")}
    parts = {key: tensor.chunk(3) for key, tensor in biases.items()}
    return {**state, **{key: torch.cat([q, torch.zeros_like(k), v]) for key, (q, k, v) in parts.items()}}
