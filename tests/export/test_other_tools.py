"""Exported graphs in common ONNX tools: quantisers, the version converter, onnxsim."""

from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper

from benchmarks.other_tools import OPENVINO, REWRITES, Pixels, export, try_tools

pytestmark = pytest.mark.slow

SMALL = "python:tests.export.small_networks"
QUANTISERS = {"quantize_dynamic", "quantize_static"}


@pytest.mark.filterwarnings("ignore")  # warnings of the tools themselves
@pytest.mark.parametrize("source", [f"{SMALL}:swin_of_transformers", f"{SMALL}:beit"])
def test_every_tool_accepts_the_graph_and_preserves_its_results(source: str, tmp_path: Path) -> None:
    graph, size = export(source, tmp_path)
    found = try_tools(graph, size)
    assert set(found) == {*REWRITES, OPENVINO}
    for tool, error in found.items():
        if isinstance(error, str):
            assert error in ("no onnxsim", "no openvino"), f"{tool}: {error}"
        else:
            assert error < (1 if tool in QUANTISERS else 1e-5), tool


def test_a_tool_that_changes_the_results_is_detected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(graph: Path, rewritten: Path, _: Pixels) -> None:
        model = onnx.load(graph)
        weights = next(tensor for tensor in model.graph.initializer if len(tensor.dims) > 1)
        weights.CopyFrom(numpy_helper.from_array(2 * numpy_helper.to_array(weights), weights.name))
        onnx.save(model, rewritten)

    graph, size = export(f"{SMALL}:beit", tmp_path)
    for tool in REWRITES.copy():
        monkeypatch.delitem(REWRITES, tool)
    monkeypatch.setitem(REWRITES, "spoiled", spoil)
    error = try_tools(graph, size)["spoiled"]
    assert isinstance(error, float)
    assert error > 1e-3
