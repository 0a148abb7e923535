"""A LitServe server with ONNX Runtime and one worker per core, for `benchmarks.serving`.

As its documentation advises for a CPU: as many worker processes as cores. A worker's session has one thread, for the
others have the other cores. Its `fast_queue` (ZeroMQ) is off, as it comes: on, it answered fewer requests here. It
reads JSON and forms by itself; an annotation of FastAPI's makes the image the bare body. The model and what comes
before and after it are `benchmarks.plain_model`.

    POSBAKE_PLAIN_ARTIFACT=DIR python -m benchmarks.lit_serve PORT
"""

import os
import sys
from typing import Annotated

import litserve
import numpy as np
from fastapi import Body
from numpy.typing import NDArray

from benchmarks.plain_model import PlainModel
from benchmarks.plain_stages import as_json, preprocess, rank


class Classifier(litserve.LitAPI):  # type: ignore[misc]  # LitServe ships no types
    """The stages of one request; all run in a worker."""

    def setup(self, device: str) -> None:  # noqa: ARG002 -- LitServe's; the only device here is the CPU
        """Load the model and run it once."""
        self.model = PlainModel(threads=1)

    def decode_request(self, request: Annotated[bytes, Body()]) -> NDArray[np.float32]:
        """Decode, resize, crop and normalise into [1, 3, height, width]."""
        return preprocess(request)

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits [classes]."""
        return self.model.run(x)

    def encode_response(self, output: NDArray[np.float32]) -> dict[str, list[dict[str, str | float]]]:
        """Return the most probable classes."""
        return as_json(rank(output, self.model.labels))


if __name__ == "__main__":
    workers = len(os.sched_getaffinity(0))
    server = litserve.LitServer(Classifier(), accelerator="cpu", devices=1, workers_per_device=workers)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", generate_client_file=False)
