"""ONNX Runtime on the CPU: threads, logits and log output."""

import os
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from artifact import Artifact, read_artifact
from service.backends.contract import utf8_path
from service.backends.onnx_runtime import OnnxRuntimeBackend
from service.problems.errors import GraphError
from tests.service.artifacts import add_artifact
from tests.service.hostile_graphs import CONSTANTS, MEAN, constant, put_graph
from tests.service.pictures import random_pixels

IMAGES = np.stack([random_pixels(8, 6, seed) for seed in range(3)])


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    add_artifact(tmp_path)
    return read_artifact(tmp_path / "colours/mean/1")


@pytest.mark.parametrize("spread", [True, False])
def test_a_spread_run_uses_all_threads_and_another_run_one(
    artifact: Artifact, spread: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = OnnxRuntimeBackend(artifact, "cpu", 3)
    chosen, other = ("_spread", "_alone") if spread else ("_alone", "_spread")
    threads = getattr(backend, chosen).get_session_options().intra_op_num_threads
    assert threads == (3 if spread else 1)
    monkeypatch.setattr(backend, other, None)  # would fail if used
    assert backend.run(IMAGES, spread=spread).shape == (3, 4)


def test_spread_and_single_threaded_runs_give_the_same_logits(artifact: Artifact) -> None:
    backend = OnnxRuntimeBackend(artifact, "cpu", 2)
    assert backend.on_cores
    spread, alone = (backend.run(IMAGES, spread=spread) for spread in (True, False))
    np.testing.assert_allclose(spread, alone, rtol=1e-6)
    assert np.ptp(spread, axis=0).max() > 0  # the logits differ between images


def test_with_one_thread_there_is_one_session(artifact: Artifact) -> None:
    backend = OnnxRuntimeBackend(artifact, "cpu", 1)
    assert backend._spread is backend._alone


def test_onnx_runtime_prints_nothing_for_a_failing_graph(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    add_artifact(tmp_path)
    forged = "\n2026-11-26 INFO service: \x1b[2J"
    gather = helper.make_node("Gather", ["product", "indices"], ["logits"], name=forged, axis=1)
    put_graph(tmp_path / "colours/mean/1", *MEAN, gather, constants=(*CONSTANTS, constant("indices", [0, 1, 2, 99])))
    backend = OnnxRuntimeBackend(read_artifact(tmp_path / "colours/mean/1"), "cpu", 2)
    for spread in (True, False):
        with pytest.raises(GraphError) as caught:
            backend.run(IMAGES, spread=spread)
        assert str(caught.value).isprintable()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("name", "found"), [(b"d\xe9p\xf4t", "is not UTF-8"), ("dépôt 1".encode(), "")])
def test_a_path_that_is_not_utf_8_is_refused_with_the_remedy(tmp_path: Path, name: bytes, found: str) -> None:
    directory = tmp_path / os.fsdecode(name)
    add_artifact(directory)
    artifact = read_artifact(directory / "colours/mean/1")
    if found:
        with pytest.raises(GraphError, match=f"{found}, which ONNX Runtime needs; rename the directory"):
            OnnxRuntimeBackend(artifact, "cpu", 1)
    else:
        OnnxRuntimeBackend(artifact, "cpu", 1)


def test_a_path_of_other_characters_is_encoded_as_on_the_disk() -> None:
    assert utf8_path(Path("d\udcc3\udca9p")) == "dép"  # as Python decodes it in the locale C
