"""From a network to logits out of ONNX Runtime, for tests: bake, trace, rewrite, run; nothing is written to disk."""

import onnx_ir as ir
import onnxruntime as ort
import torch
from torch import Tensor, nn

from artifact import Batch
from export.bake import bake
from export.graph import build_graph

OPSET = 20


def baked_graph(network: nn.Module, image_size: tuple[int, int]) -> ir.Model:
    """Return the graph of a network that takes normalised float images."""
    form, _ = bake(network, None)
    return build_graph(form, torch.zeros(2, 3, *image_size), Batch(min=1, max=8), OPSET).model


def open_graph(graph: ir.Model) -> ort.InferenceSession:
    """Return a session, to be shared by several runs."""
    return ort.InferenceSession(ir.to_proto(graph).SerializeToString(), providers=["CPUExecutionProvider"])


def run_graph(session: ort.InferenceSession, images: Tensor) -> Tensor:
    """Return logits [B, classes] of images [B, 3, height, width]."""
    return torch.from_numpy(session.run(["logits"], {"image": images.float().numpy()})[0])
