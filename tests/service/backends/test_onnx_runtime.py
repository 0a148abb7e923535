from pathlib import Path

import numpy as np
import pytest

from artifact import Artifact, read_artifact
from service.backends.onnx_runtime import OnnxRuntimeBackend
from tests.service.artifacts import add_artifact
from tests.service.pictures import random_pixels

IMAGES = np.stack([random_pixels(8, 6, seed) for seed in range(3)])


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    add_artifact(tmp_path)
    return read_artifact(tmp_path / "colours/mean/1")


@pytest.mark.parametrize("spread", [True, False])
def test_a_run_that_is_spread_has_all_threads_and_another_its_own(
    artifact: Artifact, spread: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = OnnxRuntimeBackend(artifact, "cpu", 3)
    chosen, other = ("_spread", "_alone") if spread else ("_alone", "_spread")
    threads = getattr(backend, chosen).get_session_options().intra_op_num_threads
    assert threads == (3 if spread else 1)
    monkeypatch.setattr(backend, other, None)  # it would fail
    assert backend.run(IMAGES, spread=spread).shape == (3, 4)


def test_both_ways_give_the_same_logits(artifact: Artifact) -> None:
    backend = OnnxRuntimeBackend(artifact, "cpu", 2)
    assert backend.on_cores
    spread, alone = (backend.run(IMAGES, spread=spread) for spread in (True, False))
    np.testing.assert_allclose(spread, alone, rtol=1e-6)
    assert np.ptp(spread, axis=0).max() > 0  # the images are told apart


def test_with_one_thread_the_weights_are_in_memory_once(artifact: Artifact) -> None:
    backend = OnnxRuntimeBackend(artifact, "cpu", 1)
    assert backend._spread is backend._alone
