"""A LitServe server with ONNX Runtime and one worker per core, for `benchmarks.serving`.

As many worker processes as cores, as LitServe's documentation recommends for CPUs, each with a session of one thread.
`fast_queue` (ZeroMQ) has its default, off; throughput was lower with it. LitServe parses JSON and forms by default; a
FastAPI annotation makes the request body the image itself. `benchmarks.plain_model` has the model and its pre- and
postprocessing.

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
    """A classifier; a worker runs all stages of a request."""

    def setup(self, device: str) -> None:  # noqa: ARG002 -- LitServe's signature
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
