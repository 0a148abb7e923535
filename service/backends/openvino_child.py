"""A program without posbake: OpenVINO compiles a product and runs it. Status 0 if the result is right.

It imports nothing of posbake, and is run as a file: see openvino_probe.
"""

import sys

sys.modules.update({"openvino_telemetry": None})  # type: ignore[dict-item]  # see service/__init__.py

import numpy as np  # noqa: E402
import openvino  # noqa: E402
from openvino import opset13 as opset  # noqa: E402


def main() -> int:
    """Return the exit status."""
    weights = np.arange(12, dtype=np.float32).reshape(4, 3)
    images = np.ones((2, 4), np.float32)
    given = opset.parameter([-1, 4], openvino.Type.f32)
    product = opset.matmul(given, opset.constant(weights), False, False)
    properties = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
    compiled = openvino.Core().compile_model(openvino.Model([product], [given]), "CPU", properties)
    found = compiled.create_infer_request().infer({0: images})[0]
    if not np.allclose(found, images @ weights):
        sys.stderr.write(f"a product is {found.tolist()}, expected {(images @ weights).tolist()}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
