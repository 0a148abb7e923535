"""ONNX Runtime session with pre- and postprocessing, written without posbake."""

import os
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from benchmarks.plain_stages import SIDE, preprocess, rank


class PlainModel:
    """Session of the artifact in POSBAKE_PLAIN_ARTIFACT, which has float32 input; runs once to warm up.

    Args:
        threads: threads of one run; 0 means ONNX Runtime's default.
    """

    def __init__(self, threads: int = 0) -> None:
        folder = Path(os.environ["POSBAKE_PLAIN_ARTIFACT"])
        self.labels = (folder / "labels.txt").read_text(encoding="utf-8").splitlines()
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = ort.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
        self.run(np.zeros((1, 3, SIDE, SIDE), np.float32))

    def run(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits [classes] of [1, 3, height, width]."""
        logits: NDArray[np.float32] = self.session.run(None, {"image": pixels})[0][0]
        return logits

    def classify(self, data: bytes) -> list[tuple[str, float]]:
        """Decode, resize, crop, normalise, run, rank."""
        return rank(self.run(preprocess(data)), self.labels)
