"""Trace and rewrite a network and run its graph in ONNX Runtime, all in memory."""

from pathlib import Path

import onnx_ir as ir
import onnxruntime as ort
import torch
from torch import Tensor, nn

from artifact import Batch
from export.passes.graph import Built, build_graph
from export.tracing.pixels import ArtifactInput, Normalisation
from export.verify.sessions import cpu_session
from export.write.saving import save_graph

OPSET = 20


def baked_graph(network: nn.Module, image_size: tuple[int, int]) -> ir.Model:
    """Return the graph of a network that takes normalised float images."""
    return built_graph(network, image_size).model


def built_graph(network: nn.Module, image_size: tuple[int, int], pixels: Normalisation | None = None) -> Built:
    """Return the built graph of a network; with `pixels`, its input is uint8 [B, height, width, 3]."""
    shape = (2, 3, *image_size) if pixels is None else (2, *image_size, 3)
    example = torch.zeros(shape, dtype=torch.float32 if pixels is None else torch.uint8)
    return build_graph(ArtifactInput(network, pixels), example, Batch(min=1, max=8), OPSET)


def open_graph(graph: ir.Model) -> ort.InferenceSession:
    """Return an ONNX Runtime session on one thread of the CPU: others would wait for work in a loop."""
    return cpu_session(ir.to_proto(graph).SerializeToString(), threads=1)


def run_graph(session: ort.InferenceSession, images: Tensor) -> Tensor:
    """Return logits [B, classes] of images [B, 3, height, width], or of pixels uint8 [B, height, width, 3]."""
    given = images if images.dtype == torch.uint8 else images.float()
    return torch.from_numpy(session.run(["logits"], {"image": given.numpy()})[0])


def save_wrong_graph(model: ir.Model, file: Path) -> None:
    """Write a graph as `save_graph` does, with 1 added to one column of each constant."""
    for name, value in model.graph.initializers.items():
        assert value.const_value is not None
        if value.dtype == ir.DataType.FLOAT and len(value.const_value.shape) > 1:
            numbers = value.const_value.numpy().copy()
            numbers[..., 0] += 1
            value.const_value = ir.tensor(numbers, name=name)
    save_graph(model, file)
