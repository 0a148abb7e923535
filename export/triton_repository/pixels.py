"""Model of Triton's Python backend that converts encoded image files to a network's input, with `imaging`.

`writing.py` copies this file as `model.py`, together with `imaging` and `artifact`. It runs in Triton's Python, which
requires the packages of the repository's requirements.txt. Interface: triton-inference-server/python_backend.
"""

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # first: a package called `artifact` may be installed

import numpy as np
import triton_python_backend_utils as pb_utils

from artifact import Manifest
from imaging.decode import pillow_pixel_limit
from imaging.errors import DecodeMemoryError, ImageError
from imaging.preprocess import Reading, Tensor, preprocess
from imaging.resizers import find_resizer


class TritonPythonModel:
    """Instance of the model, in a separate process."""

    def initialize(self, args: dict[str, str]) -> None:
        """Create the resizer and read the preprocessing.

        Args:
            args: arguments of the Python backend.

        Raises:
            ResizerError: the resizer is not installed.
        """
        parameters = json.loads(args["model_config"])["parameters"]
        max_pixels = int(parameters["max_pixels"]["string_value"])
        self._manifest = Manifest.model_validate_json(Path(__file__).with_name("manifest.json").read_bytes())
        self._reading = Reading(max_pixels, find_resizer(parameters["resizer"]["string_value"]))
        self._limits = ExitStack()
        self._limits.enter_context(pillow_pixel_limit(max_pixels))

    def execute(self, requests: list[Any]) -> list[Any]:
        """Return a response to each request: the input tensor of its images, or the error of the first invalid one."""
        return [self._answer(request) for request in requests]

    def finalize(self) -> None:
        """Restore Pillow's limits."""
        self._limits.close()

    def _answer(self, request: Any) -> Any:  # noqa: ANN401 -- the types of the backend exist only in Triton
        files = pb_utils.get_input_tensor_by_name(request, "image_bytes").as_numpy().ravel()
        rows: list[Tensor] = []
        for index, file in enumerate(files):
            try:
                image = self._reading.decode(file, [self._manifest.preprocess])
                rows.append(preprocess(image, self._manifest, self._reading))
            except ImageError as error:
                retry = isinstance(error, DecodeMemoryError)
                code = pb_utils.TritonError.UNAVAILABLE if retry else pb_utils.TritonError.INVALID_ARG
                problem = pb_utils.TritonError(f"element {index} of 'image_bytes': {error}", code)
                return pb_utils.InferenceResponse(error=problem)
        return pb_utils.InferenceResponse([pb_utils.Tensor("image", np.concatenate(rows))])
