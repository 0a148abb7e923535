"""Graphs saved in one file or with external weights."""

import errno
import resource
import signal
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.process.errors import ExportError
from export.write.saving import check_graph, initialiser_bytes, save_graph

IMAGE = np.random.default_rng(0).normal(size=(3, 40)).astype(np.float32)
NUMBERS = np.random.default_rng(1)
WEIGHTS = NUMBERS.normal(size=(40, 30)).astype(np.float32)  # 4,800 bytes: may be stored externally
HALVES = NUMBERS.normal(size=(30, 20)).astype(np.float16)
BIAS = NUMBERS.normal(size=20).astype(np.float32)  # 80 bytes: stays in the graph


def network(logits: str = "logits") -> ir.Model:
    """Return (image · WEIGHTS) · HALVES + BIAS, with weights of two types."""
    nodes = [
        helper.make_node("MatMul", ["image", "weights"], ["hidden"]),
        helper.make_node("Cast", ["halves"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["hidden", "floats"], ["product"]),
        helper.make_node("Add", ["product", "bias"], [logits]),
    ]
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 40])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 20])],
        [
            numpy_helper.from_array(WEIGHTS, "weights"),
            numpy_helper.from_array(BIAS, "bias"),
            numpy_helper.from_array(HALVES, "halves"),
        ],
    )
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10))


def expected_logits() -> np.ndarray:
    """Return the logits of IMAGE, computed with Python's floats."""
    logits = np.empty((3, 20))
    for row in range(3):
        hidden = [sum(float(IMAGE[row, i]) * float(WEIGHTS[i, j]) for i in range(40)) for j in range(30)]
        for column in range(20):
            logits[row, column] = sum(hidden[j] * float(HALVES[j, column]) for j in range(30)) + float(BIAS[column])
    return logits


def run(path: Path) -> np.ndarray:
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    logits: np.ndarray = session.run(["logits"], {"image": IMAGE})[0]
    return logits


SIZE = WEIGHTS.nbytes + HALVES.nbytes + BIAS.nbytes


@pytest.mark.parametrize(
    ("limit", "files"), [(SIZE, ["model.onnx"]), (SIZE - 1, ["model.onnx", "model.onnx.data"])], ids=["one", "two"]
)
def test_a_saved_graph_computes_the_expected_logits(tmp_path: Path, limit: int, files: list[str]) -> None:
    path = tmp_path / "model.onnx"
    save_graph(network(), path, limit)
    check_graph(path)
    assert sorted(file.name for file in tmp_path.iterdir()) == files
    np.testing.assert_allclose(run(path), expected_logits(), rtol=1e-4, atol=1e-4)  # float32 sums of 40 and 30 terms


def test_a_single_file_equals_protobufs_own_except_for_the_order_of_initialisers(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    save_graph(network(), path)
    found, expected = onnx.load(path), ir.to_proto(network())
    del expected.graph.value_info[:]  # of initialisers, see the next test
    assert found != expected  # the order differs, so the comparison below is meaningful
    for proto in (found, expected):
        proto.graph.initializer.sort(key=lambda tensor: tensor.name)
    assert found == expected
    assert path.stat().st_size == expected.ByteSize()


@pytest.mark.parametrize("limit", [SIZE, 0], ids=["one", "two"])
def test_value_info_omits_initialisers_and_lists_all_other_values(tmp_path: Path, limit: int) -> None:
    model = network()
    shapes: list[tuple[int | str, int]] = [("batch", 30), (30, 20), ("batch", 20)]
    for node, sizes in zip(model.graph, shapes, strict=False):
        node.outputs[0].shape, node.outputs[0].type = ir.Shape(sizes), ir.TensorType(ir.DataType.FLOAT)
    model.graph.initializers["bias"].metadata_props["folded_from"] = "val_0"
    before = {name: (value.type, value.shape) for name, value in model.graph.initializers.items()}
    assert {info.name for info in ir.to_proto(model).graph.value_info} > set(before)
    save_graph(model, tmp_path / "model.onnx", limit)
    written = onnx.load(tmp_path / "model.onnx", load_external_data=False)
    assert [info.name for info in written.graph.value_info] == ["hidden", "floats", "product"]
    assert model.graph.initializers["bias"].metadata_props == {"folded_from": "val_0"}
    assert before == {name: (value.type, value.shape) for name, value in model.graph.initializers.items()}


def test_small_constants_stay_in_the_graph(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    save_graph(network(), path, limit=0)
    inside = [t.name for t in onnx.load(path, load_external_data=False).graph.initializer if not t.external_data]
    assert inside == ["bias"]
    assert (tmp_path / "model.onnx.data").stat().st_size == WEIGHTS.nbytes + HALVES.nbytes


@pytest.mark.parametrize("limit", [SIZE, 0], ids=["one", "two"])
def test_the_graph_in_memory_is_unchanged_and_the_file_is_readable(tmp_path: Path, limit: int) -> None:
    model = network()
    save_graph(model, tmp_path / "model.onnx", limit)
    (tmp_path / "again").mkdir()
    read = ir.load(tmp_path / "model.onnx")
    for kept in (model, read):
        assert initialiser_bytes(kept) == SIZE
        value = kept.graph.initializers["weights"].const_value
        assert value is not None
        np.testing.assert_array_equal(value.numpy(), WEIGHTS)
    save_graph(read, tmp_path / "again" / "model.onnx", limit)
    np.testing.assert_array_equal(run(tmp_path / "again" / "model.onnx"), run(tmp_path / "model.onnx"))


@pytest.mark.parametrize("limit", [SIZE, 0], ids=["one", "two"])
def test_an_invalid_graph_is_refused(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "model.onnx"
    save_graph(network(logits="elsewhere"), path, limit)
    with pytest.raises(ExportError, match="not valid ONNX"):
        check_graph(path)


def test_missing_external_weights_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    save_graph(network(), path, limit=0)
    (tmp_path / "model.onnx.data").unlink()
    with pytest.raises(ExportError, match=r"model\.onnx\.data"):
        check_graph(path)


@pytest.mark.parametrize("limit", [SIZE, 0], ids=["one", "two"])
def test_a_full_disk_raises_an_error(tmp_path: Path, limit: int) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN  # set by Python, so that a write fails
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        with pytest.raises(OSError, match=r"too large|No space left") as raised:
            save_graph(network(), tmp_path / "model.onnx", limit)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert raised.value.errno in {errno.EFBIG, errno.ENOSPC}
