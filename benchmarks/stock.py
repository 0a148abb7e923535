"""Stock export by `torch.onnx.export`, the baseline of the comparisons."""

import onnx_ir as ir
import torch
from torch import nn

from artifact import Batch


def export_stock(network: nn.Module, example: torch.Tensor, batch: Batch, opset: int) -> ir.Model:
    """Return the graph of `torch.onnx.export` with a dynamic batch and the input `image`.

    Raises:
        torch.onnx.OnnxExporterError: the export failed.
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
