"""Memory of a server process under load becomes constant. `benchmarks.memory_of_service` measures it for longer."""

import http.client
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from artifact import Artifact
from benchmarks.serving_processes import resident_bytes
from imaging.preprocess import Tensor
from service import backends
from service.__main__ import main
from service.backends.onnx_runtime import OnnxRuntimeBackend
from tests.service.artifacts import add_artifact
from tests.service.pictures import encode, random_pixels, truncated_jpeg
from tests.service.process import MODULE, serving

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SETTLED, ALL, CLIENTS = 600, 1800, 4
LIMIT = 1.05  # memory pools still grow by 0.02; a leak of 5 KB in each of 1200 requests exceeds the limit
LEAK = 20_000


class LeakyBackend(OnnxRuntimeBackend):
    """Backend that leaks LEAK bytes for every image."""

    def __init__(self, artifact: Artifact, device: str, threads: int, cpu_precision: str = "fp32") -> None:
        super().__init__(artifact, device, threads, cpu_precision)
        self.kept: list[NDArray[np.uint8]] = []

    def run(self, images: Tensor, *, spread: bool = True) -> NDArray[np.float32]:
        self.kept.extend(np.ones(LEAK, np.uint8) for _ in images)
        return super().run(images, spread=spread)


def growth(tmp_path: Path, *command: str) -> float:
    """Return a server's resident size after ALL requests over that after SETTLED; every fifth image is damaged."""
    add_artifact(tmp_path / "repository")
    images = [encode(random_pixels(120, 160, seed), "JPEG") for seed in range(4)] + [truncated_jpeg()]

    def ask(address: str, count: int) -> None:
        connection = http.client.HTTPConnection(address, timeout=30)
        for place in range(count):
            connection.request("POST", "/v1/classify", images[place % 5])
            answer = connection.getresponse()
            answer.read()
            assert answer.status == (400 if place % 5 == 4 else 200)
        connection.close()

    flags = ("--port", "0", "--repository", str(tmp_path / "repository"), "--threads", "2")
    with serving(tmp_path, *flags, command=command) as server, ThreadPoolExecutor(CLIENTS) as pool:
        sizes = []
        for count in (SETTLED, ALL - SETTLED):
            list(pool.map(ask, [server.url.removeprefix("http://")] * CLIENTS, [count // CLIENTS] * CLIENTS))
            sizes.append(resident_bytes(server.process.pid))
    return sizes[1] / sizes[0]


def test_a_server_leaks_no_memory(tmp_path: Path) -> None:
    assert growth(tmp_path, *MODULE) <= LIMIT


def test_a_leak_of_some_bytes_per_image_is_detected(tmp_path: Path) -> None:
    module = (sys.executable, "-m", "tests.service.test_memory")
    assert growth(tmp_path, "env", f"PYTHONPATH={ROOT}", *module) > LIMIT


if __name__ == "__main__":  # python -m tests.service.test_memory FLAGS…
    backends.BACKENDS["leaky"] = ("__main__", "LeakyBackend")
    sys.exit(main([*sys.argv[1:], "--backend", "leaky"]))
