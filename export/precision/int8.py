"""From a float32 graph to one with Q/DQ pairs around its matrix products, by ONNX Runtime's quantizer.

Activations are symmetric int8 per tensor, weights symmetric int8 per output channel: the form that TensorRT takes and
that ONNX Runtime fuses into integer products. Only layers are quantized, that is products with a weight [in, out].
Measured on the digits networks: the products of attention gain no time; batched weights, as iRPE has them, have no
integer kernel; the first layer, which reads pixels (of 0 … 255 symmetric int8 keeps every second), and the last make
half of the error and little of the work; quantizing what a product yields costs both time and accuracy. Ranges are the
smallest and largest values seen (MinMax): percentiles were no better, and took four times as long.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes import common
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from export.errors import ExportError
from export.write.saving import initialiser_bytes, save_graph

_PRODUCTS = ("MatMul", "Gemm", "Conv")

_ONE_FILE = 2**31 - 2**26
"""Bytes of initialisers that the quantizer takes: a graph in one file, which ends at protobuf's 2 GiB."""


class _Batches:
    """Feeds batches [b, …] of the graph's input to the quantizer, as its CalibrationDataReader does."""

    def __init__(self, batches: Iterator[NDArray[np.generic]]) -> None:
        self._batches = batches

    def get_next(self) -> dict[str, NDArray[np.generic]] | None:
        """Return the next batch by the input's name."""
        batch = next(self._batches, None)
        return None if batch is None else {"image": batch}


def quantize(model: ir.Model, batches: Iterator[NDArray[np.generic]]) -> ir.Model:
    """Return an int8 copy of a float32 graph, calibrated on batches of its input.

    Raises:
        ExportError: the graph has no layers to quantize, or is too large for the quantizer.
    """
    layers = quantizable(model)
    if not layers:
        raise ExportError("the graph has no layers with weights between its first and last; use --precision fp32")
    if initialiser_bytes(model) > _ONE_FILE:
        raise ExportError("ONNX Runtime's quantizer takes graphs below 2 GiB; use --precision fp16 or bf16")
    with tempfile.TemporaryDirectory() as folder:
        single, prepared, quantized = (Path(folder) / f"{name}.onnx" for name in ("single", "prepared", "quantized"))
        save_graph(model, single, _ONE_FILE)
        # The graph is optimised already, and every value has its shape, which symbolic inference stumbles over.
        quant_pre_process(single, prepared, skip_optimization=True, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            quantized,
            _Batches(batches),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_PRODUCTS),
            nodes_to_quantize=layers,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                "OpTypesToExcludeOutputQuantization": list(_PRODUCTS),
            },
        )
        made = ir.load(quantized)
    ir.passes.Sequential(
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedOpsetsPass(),
        common.DeduplicateHashedInitializersPass(size_limit=2**40),
        common.ClearMetadataAndDocStringPass(),
    )(made)
    return made


def quantizable(model: ir.Model) -> list[str]:
    """Return the names of the layers that are quantized: all products with a weight but the first and the last."""
    layers = [node for node in model.graph if node.op_type in _PRODUCTS and _has_weight(node)]
    return [node.name for node in layers[1:-1] if node.name is not None]


def _has_weight(node: ir.Node) -> bool:
    weight = node.inputs[1]
    return (
        weight is not None
        and weight.is_initializer()
        and weight.shape is not None
        and (node.op_type == "Conv" or len(weight.shape) == 2)
    )
