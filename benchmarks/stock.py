"""Stock export by `torch.onnx.export`, the baseline of every comparison."""

import onnx_ir as ir
import torch
from torch import nn

from artifact import Batch


def export_stock(network: nn.Module, example: torch.Tensor, batch: Batch, opset: int) -> ir.Model:
    """Return the graph that `torch.onnx.export` makes, the batch dynamic, its input named `image`.

    Raises:
        torch.onnx.OnnxExporterError: it cannot.
    """
    program = torch.onnx.export(
        network,
        (example,),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch", min=batch.min, max=batch.max)},),
        input_names=["image"],
        output_names=["logits"],
        opset_version=opset,
        verbose=False,
    )
    assert program is not None
    return program.model
