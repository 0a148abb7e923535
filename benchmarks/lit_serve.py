"""What one writes with LitServe: the stages as methods, ONNX Runtime, a worker a core; for `benchmarks.serving`.

As its documentation advises for a CPU: as many worker processes as cores. A worker's session has one thread, for the
others have the other cores. Its `fast_queue` (ZeroMQ) is off, as it comes: on, it answered fewer requests here. It
reads JSON and forms by itself; an annotation of FastAPI's makes the image the bare body. What comes before and after
the model is `benchmarks.plain_stages`.

    POSBAKE_PLAIN_ARTIFACT=DIR python -m benchmarks.lit_serve PORT
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import litserve
import numpy as np
import onnxruntime as ort
from fastapi import Body
from numpy.typing import NDArray

from benchmarks.plain_stages import SIDE, preprocess, rank


class Classifier(litserve.LitAPI):  # type: ignore[misc]  # LitServe ships no types
    """The stages of one request; all run in a worker."""

    def setup(self, device: str) -> None:  # noqa: ARG002 -- LitServe's; the only device here is the CPU
        """Load the model and run it once."""
        folder = Path(os.environ["POSBAKE_PLAIN_ARTIFACT"])
        self.labels = (folder / "labels.txt").read_text(encoding="utf-8").splitlines()
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
        self.session.run(None, {"image": np.zeros((1, 3, SIDE, SIDE), np.float32)})

    def decode_request(self, request: Annotated[bytes, Body()]) -> NDArray[np.float32]:
        """Decode, resize, crop and normalise into [1, 3, height, width]."""
        return preprocess(request)

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits [classes]."""
        logits: NDArray[np.float32] = self.session.run(None, {"image": x})[0][0]
        return logits

    def encode_response(self, output: NDArray[np.float32]) -> dict[str, Any]:
        """Return the most probable classes."""
        return {"predictions": [{"label": label, "probability": value} for label, value in rank(output, self.labels)]}


if __name__ == "__main__":
    workers = len(os.sched_getaffinity(0))
    server = litserve.LitServer(Classifier(), accelerator="cpu", devices=1, workers_per_device=workers)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", generate_client_file=False)
