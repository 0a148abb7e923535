"""Replacement for Triton's ONNX Runtime backend, which nvidia-pytriton lacks: ONNX Runtime in Python.

As `backends/onnxruntime/model.py` it is a "Python-based backend", which Triton uses for `backend: "onnxruntime"`, so
configurations run unchanged. Inputs and outputs are read from the graph.
"""

import json
from pathlib import Path
from typing import Any

import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """One instance of one version of a model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the graph."""
        name = json.loads(args["model_config"])["default_model_filename"]
        graph = Path(args["model_repository"], args["model_version"], name)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._inputs = [node.name for node in self._session.get_inputs()]
        self._outputs = [node.name for node in self._session.get_outputs()]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Run each request separately."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:  # noqa: ANN401 -- the backend's types exist only in Triton
        feeds = {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self._inputs}
        outputs = zip(self._outputs, self._session.run(self._outputs, feeds), strict=True)
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, output) for name, output in outputs])
