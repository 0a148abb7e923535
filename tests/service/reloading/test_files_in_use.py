"""A served version does not change with the files it was loaded from."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.external_data_helper import set_external_data

from service.catalogue.catalogue import Servable
from service.catalogue.loading import load_catalogue
from service.settings import Settings
from tests.service.artifacts import WEIGHTS, add_artifact
from tests.service.test_external_data import update_hashes

IMAGE = np.full((1, 8, 6, 3), (10, 20, 30), np.uint8)
SHIFT = np.arange(4, dtype=np.float32)
EXPECTED = np.array([[10, 20, 30]], np.float32) @ WEIGHTS + SHIFT


def add_external_shift(path: Path, name: str) -> None:
    """Add SHIFT to the logits of an artifact's graph, as external data in file `name`, which the runtime may map."""
    graph = onnx.load(path / "model.onnx")
    shift = numpy_helper.from_array(SHIFT, "shift")
    set_external_data(shift, name)
    graph.graph.node[-1].output[0] = "product"
    graph.graph.node.append(helper.make_node("Add", ["product", "shift"], ["logits"]))
    graph.graph.initializer.append(shift)
    (path / name).parent.mkdir(exist_ok=True)
    onnx.save(graph, path / "model.onnx")
    update_hashes(path, "model.onnx", "labels.txt", name)


def logits(servable: Servable) -> NDArray[np.float32]:
    return servable.backend.current().run(IMAGE)


@pytest.mark.parametrize("name", ["model.onnx.data", "weights/model.onnx.data"])
def test_overwriting_or_truncating_external_weights_does_not_affect_a_served_version(tmp_path: Path, name: str) -> None:
    add_artifact(tmp_path)
    path = tmp_path / "colours/mean/1"
    add_external_shift(path, name)
    (servable,) = load_catalogue(Settings(repository=tmp_path, threads=1)).servables()
    np.testing.assert_allclose(logits(servable), EXPECTED, rtol=1e-5)
    with (path / name).open("r+b") as file:
        file.write((10 * SHIFT).tobytes())
    np.testing.assert_allclose(logits(servable), EXPECTED, rtol=1e-5)
    (path / name).write_bytes(b"")  # a process that has the file mapped would crash at its next access
    np.testing.assert_allclose(logits(servable), EXPECTED, rtol=1e-5)
    servable.backend.close()
