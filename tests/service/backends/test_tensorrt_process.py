"""The service in its own process with `--backend tensorrt`, from building engines to responses.

Run as a program, this file is that process: fakes of TensorRT and CUDA compute on the CPU, and each build waits for a
file.
"""

import socket
import sys
import time
from pathlib import Path
from subprocess import PIPE, Popen, run

import httpx2
import numpy as np
import pytest

from service.__main__ import main
from service.resources.exit import end_process, until_stopped
from tests.engines.fake_cuda import FakeCuda
from tests.engines.fake_tensorrt import FakeTensorRt
from tests.service.artifacts import add_artifact, expected_probabilities
from tests.service.pictures import encode, random_pixels
from tests.service.process import environment

pytestmark = pytest.mark.slow

PATIENCE = 60.0


def wait_for_status(url: str, status: int) -> None:
    """Wait until a URL responds with a status."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            found = httpx2.get(url).status_code
        except httpx2.TransportError:
            found = 0
        if found == status:
            return
        assert time.monotonic() < end, f"{url} responds with {found}"
        time.sleep(0.05)


def test_the_server_is_not_ready_while_it_builds_an_engine_which_the_next_start_reuses(tmp_path: Path) -> None:
    add_artifact(tmp_path / "artifacts")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    gate = tmp_path / "gate"
    flags = ["--backend", "tensorrt", "--repository", str(tmp_path / "artifacts"), "--port", str(port)]
    flags += ["--engine-cache", str(tmp_path / "cache"), "--max-batch", "4"]
    for start in ("builds", "uses the cache"):
        command = [sys.executable, __file__, str(gate), *flags]
        with Popen(command, stderr=PIPE, env=environment(PYTHONPATH=str(Path.cwd()))) as process:
            try:
                if start == "builds":
                    wait_for_status(f"{url}/health/ready", 503)
                    assert httpx2.get(f"{url}/health/live").status_code == 200
                    gate.touch()
                wait_for_status(f"{url}/health/ready", 200)
                gate.unlink(missing_ok=True)
                pixels = random_pixels(8, 6, 3)
                answer = httpx2.post(f"{url}/v1/classify", content=encode(pixels)).json()
            finally:
                process.terminate()
            _, log = process.communicate(timeout=PATIENCE)
        assert (answer["backend"], answer["running_precision"]) == ("tensorrt-cuda", "fp32")
        found = [row["probability"] for row in sorted(answer["predictions"], key=lambda row: row["index"])]
        np.testing.assert_allclose(found, expected_probabilities(pixels), rtol=1e-4)
        expected = "the engine of colours/mean/1 " + ("was built in" if start == "builds" else "is in the engine cache")
        assert expected in log.decode()
        assert process.returncode == 0


def test_a_read_only_cache_stops_the_start_with_one_sentence(tmp_path: Path) -> None:
    add_artifact(tmp_path / "artifacts")
    flags = ["--backend", "tensorrt", "--repository", str(tmp_path / "artifacts"), "--port", "0"]
    command = [sys.executable, __file__, str(tmp_path / "gate"), *flags, "--engine-cache", "/sys/posbake"]
    done = run(command, stderr=PIPE, text=True, timeout=PATIENCE, env=environment(PYTHONPATH=str(Path.cwd())))
    assert done.returncode == 1
    assert "the engine cache /sys/posbake cannot be used: " in done.stderr
    assert "name another directory with --engine-cache" in done.stderr.splitlines()[-1]


def _wait_for(gate: Path) -> None:
    while not gate.exists():
        time.sleep(0.02)


def _program(gate: Path, flags: list[str]) -> int:
    cuda = FakeCuda()
    trt = FakeTensorRt(cuda)
    trt.before_build = lambda: _wait_for(gate)
    sys.modules["tensorrt"], sys.modules["cuda.bindings.runtime"] = trt, cuda  # type: ignore[assignment]
    return main(flags)


if __name__ == "__main__":
    end_process(until_stopped(lambda: _program(Path(sys.argv[1]), sys.argv[2:])))
