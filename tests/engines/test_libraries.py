"""Search order and errors of TensorRT's libraries, and the layers of engines."""

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from engines import LibraryMissingError, find_library, load_cuda, load_library, summarise
from engines.inspecting import operators_of, read_layers
from tests.engines.fake_tensorrt import FakeTensorRt
from tests.engines.fakes import forget

LAYERS = """Layers:
Name: _gemm_mha_v2_myl0_8, LayerType: kgen, Inputs: [ { Name: q, Dimensions: [-1,16,16], Strides: [16,-1,1], \
StrideOrder: [1,2,0], Datatype: Half, Format: (Arbitrary) Format with stride order = [1,2,0] }], Constants: [ { Name: \
blocks.0.bias_constantHalf_myl0, Dimensions: [1,32,16,16], Strides: [8192,256,16,1], StrideOrder: [3,2,1,0], Datatype: \
Half, Format: (Linear) Row major linear format }], Outputs: [ { Name: o, Dimensions: [-1,16,16], Strides: [16,-1,1], \
StrideOrder: [1,2,0], Datatype: Half, Format: (Linear) Row major linear format }], TacticName: _gemm_mha_v2_0xb6, \
StreamId: 0, Metadata: [ONNX Layer: node_matmul_3][ONNX Layer: node_softmax]
Name: head, LayerType: gemm, Inputs: [ { Name: x, Dimensions: [-1,64], Strides: [64,1], Datatype: Half }], Constants: \
[ { Name: w, Dimensions: [64,10], Strides: [10,1], Datatype: Float }, { Name: i, Dimensions: [3], Strides: [1], \
Datatype: Int32 }], Outputs: [ { Name: logits, Dimensions: [-1,10], Strides: [10,1], Datatype: Float }], StreamId: 0
Name: __myl_blocks.attention.qkv, LayerType: kgen, Inputs: [], Outputs: [], TacticName: , StreamId: 0

I/O Tensors:
 Name: image, IOMode: Input, DataType: UInt8, Dimensions: [-1,32,32,3]
"""


@pytest.fixture(autouse=True)
def _nothing_installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("tensorrt", "tensorrt_rtx_bindings", "cuda.bindings.runtime"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr("engines.library.importlib.util.find_spec", lambda _name: None)
    forget()
    yield
    forget()


def test_a_missing_library_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(
        LibraryMissingError, match=r"^TensorRT is not available: .*; install it with pip install tensor"
    ):
        load_library("tensorrt")
    with pytest.raises(LibraryMissingError, match=r"TensorRT-RTX is not .*--no-deps tensorrt_rtx_cu13_bindings onnxr"):
        load_library("rtx")
    with pytest.raises(LibraryMissingError, match=r"TensorRT is not available.*TensorRT-RTX is not available"):
        find_library()
    with pytest.raises(LibraryMissingError, match=r"CUDA runtime is not available: .* pip install cuda-bindings"):
        load_cuda()


def test_tensorrt_is_preferred_and_must_be_10_or_later(monkeypatch: pytest.MonkeyPatch, fake_gpu: FakeTensorRt) -> None:
    rtx = ModuleType("tensorrt_rtx_bindings")
    rtx.__dict__["__version__"] = "1.7.1.116"
    monkeypatch.setitem(sys.modules, "tensorrt_rtx_bindings", rtx)
    assert str(find_library()) == "TensorRT 10.16.1"
    fake_gpu.__version__ = "8.6.3"
    forget()
    with pytest.raises(LibraryMissingError, match=r"TensorRT 8\.6\.3 is too old, 10 or later is required"):
        load_library("tensorrt")
    assert str(find_library()) == "TensorRT-RTX 1.7.1.116"


def test_layers_are_read_with_precision_bytes_and_attention() -> None:
    attention, head, moved = read_layers(LAYERS)
    assert (attention.name, attention.kind, attention.precision) == ("_gemm_mha_v2_myl0_8", "kgen", "fp16")
    assert (attention.attention, attention.constant_bytes) == (True, 32 * 16 * 16 * 2)
    assert (head.attention, head.precision, head.constant_bytes) == (False, "fp32", 64 * 10 * 4 + 3 * 4)
    assert (moved.attention, moved.precision, moved.constant_bytes) == (False, "", 0)
    summary = summarise((attention, head, moved))
    assert (summary.layers, summary.attention) == (3, 1)
    assert summary.precisions == {"fp16": 1, "fp32": 1, "": 1}
    assert operators_of((attention, head, moved)) == {
        "fused attention": {"fp16": 1}, "gemm": {"fp32": 1}, "kgen": {"": 1}
    }  # fmt: skip
