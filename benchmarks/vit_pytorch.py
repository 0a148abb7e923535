"""`python -m benchmarks.vit_pytorch [NAME …]`: export of every image classifier of vit-pytorch, at small sizes.

Parameters are random, position tables included. Outcomes are `exported` with the largest error at batches 1, 2, 3 and
7, relative to the largest logit of torch's float32 forward; `refused` with the exporter's reason; or `broken` if the
network's own forward fails. Networks that draw random numbers, or whose Python control flow depends on the image, must
be refused. Requires `pip install vit-pytorch`.
"""

import argparse
import importlib
import sys
import time
import warnings
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import torch
from torch import nn

from artifact import Batch
from export.passes.graph import build_graph
from export.process.errors import ExportError, first_line
from export.tracing.pixels import ArtifactInput

SIZE = 64
SIZES = {"levit": 128, "sep_vit": 112}
"""Image sizes of networks that do not accept `SIZE`."""
BATCHES = (1, 2, 3, 7)
OPSET = 20

_PLAIN = {
    "image_size": SIZE,
    "patch_size": 16,
    "num_classes": 10,
    "dim": 48,
    "depth": 2,
    "heads": 3,
    "mlp_dim": 96,
    "dim_head": 16,
}
_STAGES = {"num_classes": 10, "dim": (16, 32, 48, 64), "depth": (1, 1, 1, 1)}
_ND = _PLAIN | {"ndim": 2, "input_shape": SIZE}

NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "ats_vit": ("ViT", _PLAIN | {"max_tokens_per_depth": (12, 8)}),
    "attn_residual_with_dca_simple_vit": ("SimpleViT", _PLAIN),
    "cait": ("CaiT", _PLAIN | {"cls_depth": 2}),
    "cait with layer dropout": ("CaiT", _PLAIN | {"cls_depth": 2, "layer_dropout": 0.05}),
    "cct": ("CCT", {"img_size": SIZE, "embedding_dim": 48, "num_layers": 2, "num_heads": 3, "num_classes": 10}),
    "cct with learned positions": (
        "CCT",
        {"img_size": SIZE, "embedding_dim": 48, "num_layers": 2, "num_heads": 3, "positional_embedding": "learnable"},
    ),
    "cross_vit": (
        "CrossViT",
        {"image_size": SIZE, "num_classes": 10, "sm_dim": 32, "lg_dim": 48, "sm_patch_size": 8, "lg_patch_size": 16}
        | {"sm_enc_heads": 2, "lg_enc_heads": 3, "sm_enc_mlp_dim": 64, "lg_enc_mlp_dim": 96, "lg_enc_depth": 2}
        | {"depth": 2, "cross_attn_heads": 2},
    ),
    "crossformer": (
        "CrossFormer",
        _STAGES | {"dim": (32, 32, 64, 64), "global_window_size": (4, 2, 2, 1), "local_window_size": 2},
    ),
    "cvt": (
        "CvT",
        {"num_classes": 10, "s1_emb_dim": 16, "s2_emb_dim": 32, "s3_emb_dim": 48, "s2_depth": 1, "s3_depth": 2},
    ),
    "deepvit": ("DeepViT", _PLAIN),
    "jet_vit": ("JetViT", _PLAIN | {"window_size": 2}),
    "jumbo_vit": ("JumboViT", _PLAIN),
    "learnable_memory_vit": ("ViT", _PLAIN),
    "levit": (
        "LeViT",
        {
            "image_size": SIZES["levit"],
            "num_classes": 10,
            "dim": (32, 48, 64),
            "depth": 1,
            "heads": (2, 3, 4),
            "mlp_mult": 2,
        },
    ),
    "local_vit": ("LocalViT", _PLAIN),
    "look_vit": (
        "LookViT",
        {"dim": 48, "image_size": SIZE, "num_classes": 10, "depth": 2, "patch_size": 16, "heads": 3, "dim_head": 16}
        | {"highres_patch_size": 8, "cross_attn_heads": 3, "cross_attn_dim_head": 16},
    ),
    "looped_vit": (
        "LoopedViT",
        {
            "num_classes": 10,
            "dim": 48,
            "image_size": SIZE,
            "patch_size": 16,
            "pre_loop_depth": 1,
            "num_looped_blocks": 1,
        }
        | {"post_loop_depth": 1, "loop_depth": 2, "heads": 3, "dim_head": 16, "mlp_dim": 96},
    ),
    "max_vit": ("MaxViT", {"num_classes": 10, "dim": 32, "depth": (1, 1), "dim_head": 16, "window_size": 4}),
    "max_vit_with_registers": (
        "MaxViT",
        {"num_classes": 10, "dim": 32, "depth": (1, 1), "dim_head": 16, "window_size": 4},
    ),
    "mobile_vit": (
        "MobileViT",
        {"image_size": (SIZE, SIZE), "dims": [48, 64, 80], "num_classes": 10}
        | {"channels": [16, 16, 24, 24, 32, 32, 48, 48, 64, 64, 96]},
    ),
    "mp3": ("ViT", _PLAIN),
    "na_vit": ("NaViT", _PLAIN),
    "na_vit_nested_tensor": ("NaViT", _PLAIN),
    "nest": (
        "NesT",
        {"image_size": SIZE, "patch_size": 8, "num_classes": 10, "dim": 24, "heads": 3, "num_hierarchies": 3}
        | {"block_repeats": (1, 1, 2), "dim_head": 16},
    ),
    "normalized_vit": ("nViT", _PLAIN),
    "parallel_vit": ("ViT", _PLAIN),
    "pit": ("PiT", _PLAIN | {"depth": (1, 1)}),
    "regionvit": ("RegionViT", _STAGES | {"window_size": 2}),
    "regionvit with peg": ("RegionViT", _STAGES | {"window_size": 2, "use_peg": True, "tokenize_local_3_conv": True}),
    "rvt": ("RvT", _PLAIN),
    "scalable_vit": (
        "ScalableViT",
        {"num_classes": 10, "dim": 16, "heads": (1, 2, 3, 4), "depth": (1, 1, 1, 1), "reduction_factor": (4, 2, 1, 1)}
        | {"window_size": (4, 4, None, None)},
    ),
    "sep_vit": (
        "SepViT",
        {"num_classes": 10, "dim": 16, "dim_head": 16, "heads": (1, 2, 4), "depth": (1, 2, 1)},
    ),
    "simple_flash_attn_vit": ("SimpleViT", _PLAIN),
    "simple_uvit": ("SimpleUViT", _PLAIN),
    "simple_vit": ("SimpleViT", _PLAIN),
    "simple_vit_attn_residual": ("SimpleViTAttnResidual", _PLAIN),
    "simple_vit_orthog_residual_update": ("SimpleViT", _PLAIN),
    "simple_vit_with_fft": ("SimpleViT", _PLAIN | {"freq_patch_size": 16}),
    "simple_vit_with_hyper_connections": ("SimpleViT", _PLAIN | {"num_residual_streams": 4}),
    "simple_vit_with_patch_dropout": ("SimpleViT", _PLAIN),
    "simple_vit_with_qk_norm": ("SimpleViT", _PLAIN),
    "simple_vit_with_register_tokens": ("SimpleViT", _PLAIN),
    "simple_vit_with_relative_proj_pos_bias": ("SimpleViT", _PLAIN),
    "simple_vit_with_sparse_gating": ("SimpleViTWithSparseGating", _PLAIN),
    "simple_vit_with_specialized_cls": ("SimpleViT", _PLAIN),
    "simple_vit_with_value_residual": ("SimpleViT", _PLAIN),
    "t2t": (
        "T2TViT",
        {"image_size": SIZE, "num_classes": 10, "dim": 48, "depth": 2, "heads": 3, "mlp_dim": 96, "dim_head": 16}
        | {"t2t_layers": ((7, 4), (3, 2))},
    ),
    "twins_svt": (
        "TwinsSVT",
        {"num_classes": 10, "s1_emb_dim": 16, "s2_emb_dim": 32, "s3_emb_dim": 48, "s4_emb_dim": 64, "s3_depth": 1}
        | {"s4_depth": 1, "s1_local_patch_size": 4, "s2_local_patch_size": 4, "s3_local_patch_size": 2}
        | {"s4_local_patch_size": 1, "s1_global_k": 4, "s2_global_k": 4, "s3_global_k": 2, "s4_global_k": 1},
    ),
    "vit": ("ViT", _PLAIN),
    "vit with a mean": ("ViT", _PLAIN | {"pool": "mean"}),
    "vit_5": ("ViT", _PLAIN),
    "vit_detpool": ("ViTDetPool", _PLAIN),
    "vit_for_small_dataset": ("ViT", _PLAIN),
    "vit_nd": ("ViTND", {key: value for key, value in _ND.items() if key != "image_size"}),
    "vit_nd_pope": ("ViTND", {key: value for key, value in _ND.items() if key != "image_size"}),
    "vit_nd_rotary": ("ViTND", {key: value for key, value in _ND.items() if key != "image_size"}),
    "vit_with_decorr": ("ViT", _PLAIN),
    "vit_with_keel_post_ln": ("ViT", _PLAIN),
    "vit_with_patch_dropout": ("ViT", _PLAIN),
    "vit_with_patch_merger": ("ViT", _PLAIN | {"patch_merge_layer": 1}),
    "wwt": ("WWT", _PLAIN | {"num_slots": 4}),
    "xcit": ("XCiT", _PLAIN | {"cls_depth": 2}),
}
"""Class and arguments by name; the first word of the name is the module in vit_pytorch."""


def build(name: str, seed: int = 0) -> nn.Module:
    """Return one of `NETWORKS` in eval mode, with random tables and parameters of at most one dimension."""
    kind, options = NETWORKS[name]
    module = importlib.import_module(f"vit_pytorch.{name.partition(' ')[0]}")
    torch.manual_seed(seed)
    network: nn.Module = getattr(module, kind)(**options).eval()
    with torch.no_grad():
        for path, parameter in network.named_parameters():
            if parameter.ndim <= 1:
                parameter.add_(torch.randn_like(parameter) / 10)
            elif "pos" in path or "bias" in path or "token" in path or "table" in path:
                parameter.copy_(torch.randn_like(parameter) / 2)
    return network


def export(network: nn.Module, size: int) -> ort.InferenceSession:
    """Return an ONNX Runtime session of the network's graph."""
    model = build_graph(ArtifactInput(network, None), torch.zeros(2, 3, size, size), Batch(min=1, max=8), OPSET).model
    return ort.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])


def largest_error(network: nn.Module, session: ort.InferenceSession, size: int) -> float:
    """Return max |graph − network| / max |logit| over `BATCHES`."""
    errors = []
    for batch in BATCHES:
        images = torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(batch))
        with torch.no_grad():
            expected = network(images).numpy()
        found = np.asarray(session.run(["logits"], {"image": images.numpy()})[0])
        errors.append(float(np.abs(found - expected).max() / np.abs(expected).max()))
    return max(errors)


def outcome(name: str) -> tuple[str, str]:
    """Return `exported`, `refused` or `broken`, and the size or text of the error."""
    size = SIZES.get(name, SIZE)
    network = build(name)
    try:
        with torch.no_grad():
            network(torch.zeros(2, 3, size, size))
    except Exception as error:  # noqa: BLE001 -- the network's own code
        return "broken", f"{type(error).__name__}: {first_line(error)}"
    try:
        return "exported", f"{largest_error(network, export(network, size), size):.1e}"
    except ExportError as error:
        return "refused", str(error)


def main(arguments: list[str] | None = None) -> int:
    """Print a row for each network and return 0."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":", maxsplit=1)[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all networks")
    chosen = parser.parse_args(arguments).names or list(NETWORKS)
    warnings.simplefilter("ignore")
    for name in chosen:
        start = time.perf_counter()
        what, detail = outcome(name)
        print(f"| {name} | {what} | {detail} | {time.perf_counter() - start:.1f} s |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
