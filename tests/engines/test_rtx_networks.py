"""Engines of networks of full width in fp16, built by TensorRT-RTX for batches 1 to 8."""

from pathlib import Path
from typing import Any

import pytest
import torch
from onnx_ir.passes import common

from artifact import Batch
from engines import summarise
from export.passes.graph import rewrite_graph
from export.precision.half import HALVES, ToHalf
from export.precision.part_transposes import PartTransposes
from export.tracing.graph import trace_graph
from export.tracing.pixels import ArtifactInput, Normalisation
from export.write.saving import save_graph
from models.sources import Overrides, RandomWeights, load_source
from tests.engines.rtx import build, rtx_or_skip

pytestmark = [pytest.mark.rtx, pytest.mark.slow]

FUSED = {
    "timm:swin_tiny_patch4_window7_224": 12,
    "timm:swinv2_tiny_window8_256": 12,
    "timm:vit_small_patch16_224": 3,
    "timm:beit_base_patch16_224": 3,
    "cream:deit_small_patch16_224_ctx_product_50_shared_k": 12,
    "timm:maxvit_pico_rw_256": 18,
}
"""Number of fused attention kernels: one per attention, except 18 for the 22 of MaxViT."""

DEPTH: dict[str, Any] = {"timm:vit_small_patch16_224": {"depth": 3}, "timm:beit_base_patch16_224": {"depth": 3}}
"""Reduced number of blocks for networks whose blocks are all alike."""


@pytest.mark.parametrize("source", FUSED)
def test_a_network_is_built_and_its_attention_fused(source: str, tmp_path: Path) -> None:
    rtx_or_skip()
    loaded = load_source(source, RandomWeights(0), Overrides(model_args=DEPTH.get(source, {})))
    steps = loaded.preprocess
    whole = ArtifactInput(loaded.network, Normalisation(steps.mean, steps.std))
    example = torch.zeros(2, *loaded.image_size, 3, dtype=torch.uint8)
    model = rewrite_graph(trace_graph(whole, example, Batch(min=1, max=8), 20)).model
    ToHalf(HALVES["fp16"])(model)
    PartTransposes()(model)
    common.DeduplicateHashedInitializersPass(size_limit=2**40)(model)
    save_graph(model, tmp_path / "model.onnx")
    engine = build(tmp_path / "model.onnx")
    found = summarise(engine.layers)
    assert found.attention == FUSED[source]
