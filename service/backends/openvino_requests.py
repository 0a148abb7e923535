"""OpenVINO's infer requests of a model compiled for one image."""

import threading
from collections.abc import Sequence

import numpy as np
import openvino
from numpy.typing import NDArray

from imaging.preprocess import Tensor
from service.problems.errors import GraphError


class Requests:
    """Pool of infer requests, which grows with the number of concurrent runs. Thread-safe.

    Args:
        compiled: model for one image, [1, H, W, 3] or [1, 3, H, W].
    """

    def __init__(self, compiled: openvino.CompiledModel) -> None:
        self.compiled = compiled
        self._lock = threading.Lock()
        self._idle: list[_Request] = []
        self._running: set[_Request] = set()
        self._cancelled = False

    def run(self, images: Tensor, at_a_time: int) -> NDArray[np.float32]:
        """Return logits, float32 [B, C].

        Args:
            images: batch of B images.
            at_a_time: number of images computed concurrently, on the model's streams; with 1, this thread computes.

        Raises:
            GraphError: the run was interrupted, or the images do not match the graph's input.
            Exception: one of `openvino_errors.FAILED`.
        """
        with self._lock:
            requests = [self._idle.pop() for _ in range(min(at_a_time, len(self._idle)))]
            requests += [_Request(self.compiled) for _ in range(at_a_time - len(requests))]
            self._running.update(requests)
        try:
            logits: list[NDArray[np.float32]] = []
            for start in range(0, len(images), at_a_time):
                logits += self._run(requests, images[start : start + at_a_time])
        finally:
            with self._lock:
                self._running.difference_update(requests)
        with self._lock:
            self._idle += requests  # not after an error, because their state is unknown
        return np.concatenate(logits)

    def cancel(self) -> None:
        """Stop current runs before their next node, and make later runs fail."""
        self._cancelled = True
        with self._lock:
            running = list(self._running)
        for request in running:
            request.cancel()

    def _run(self, requests: Sequence["_Request"], images: Tensor) -> list[NDArray[np.float32]]:
        if self._cancelled:
            raise GraphError("the run was interrupted")
        chosen = requests[: len(images)]
        for request, image in zip(chosen, images, strict=True):
            request.set(image)
        if len(chosen) == 1:
            chosen[0].run()
        else:
            self._run_on_streams(chosen)
        if self._cancelled:
            raise GraphError("the run was interrupted")
        return [request.logits() for request in chosen]

    def _run_on_streams(self, requests: Sequence["_Request"]) -> None:
        for request in requests:
            request.start()
            if self._cancelled:  # `cancel` may have missed these requests
                request.cancel()
        for request in requests:
            request.wait()


class _Request:
    """Infer request with its own input buffer, so that unfinished work after a failure does not read freed memory."""

    def __init__(self, compiled: openvino.CompiledModel) -> None:
        self._request = compiled.create_infer_request()
        self._input: Tensor = self._request.get_input_tensor().data
        self.run = self._request.infer
        self.start = self._request.start_async
        self.wait = self._request.wait
        self.cancel = self._request.cancel

    def set(self, image: Tensor) -> None:
        """Set the image, [H, W, 3] or [3, H, W]."""
        if (image.dtype, image.shape) != (self._input.dtype, self._input.shape[1:]):
            raise GraphError(
                f"an image is {image.dtype} of shape {image.shape}, the graph takes {self._input.dtype} of shape "
                f"{self._input.shape[1:]}"
            )
        self._input[0] = image

    def logits(self) -> NDArray[np.float32]:
        """Return a copy of the logits, float32 [1, C]."""
        found: NDArray[np.float32] = self._request.get_output_tensor().data.copy()
        return found
