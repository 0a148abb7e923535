"""Graphs traced with eleven images, run with others."""

import numpy as np
import onnx_ir as ir
import onnxruntime as ort

from tests.export.passes.graphs import Array

IMAGES = 11


def run(model: ir.Model, image: Array) -> Array:
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    result = session.run(None, {"image": image})[0]
    assert isinstance(result, np.ndarray)
    return result
