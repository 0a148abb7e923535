"""Small whole networks in half precision and int8, one for each way in which an encoding acts on attention."""

import shutil

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from artifact import Batch, Parity
from export.precision.calibration import CalibrationImages
from export.precision.emulate import emulate
from export.precision.half import HALVES
from export.precision.lower import Lowering
from export.tracing.pixels import Normalisation
from export.verify.parity import LIMITS, Limits, check_parity
from export.verify.reference import compute_reference
from export.write.saving import save_graph
from models import SwinConfig, ViTConfig, build_network
from models.sources.own import randomise
from tests.export.graphs import baked_graph
from tests.export.precision.hand_made import run
from tests.export.precision.typing_rules import type_errors
from tests.models.networks import SWIN, VIT_CLS

pytestmark = pytest.mark.slow

CONTEXTUAL = {"irpe-product-contextual-qkv": {"ratio": 1.9}}
NETWORKS: dict[str, ViTConfig | SwinConfig] = {
    "swin": SWIN.model_copy(update={"depths": (2, 1)}),
    "swin v2": SWIN.model_copy(update={"depths": (2, 1), "version": 2, "encodings": {"swin-log-cpb": {}}}),
    "deit irpe contextual": VIT_CLS.model_copy(update={"encodings": {"learned": {}} | CONTEXTUAL}),
}
BATCH = Batch(min=1, max=8)
NORMAL = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


@pytest.fixture(scope="module", params=NETWORKS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def lowered(name: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[onnx.ModelProto, Parity]]:
    """Return graph and parity of the network in each precision."""
    network = build_network(NETWORKS[name]).eval()
    randomise(network, seed=3)
    size = NETWORKS[name].image_size
    random = compute_reference(network, size, NORMAL, BATCH)
    pixels = np.random.default_rng(0).integers(0, 256, (40, *size, 3), np.uint8)
    made, single_file = {}, tmp_path_factory.mktemp("fp32") / "model.onnx"
    save_graph(baked_graph(network, size), single_file)
    single = check_parity(random, single_file, takes_pixels=False)
    for precision in ("fp16", "bf16", "int8"):
        file = tmp_path_factory.mktemp(precision) / "model.onnx"
        shutil.copy(single_file, file)
        limits = Limits(LIMITS[precision].cosine, 0)  # a network with random weights does not separate classes
        lowering = Lowering(precision, limits, CalibrationImages("noise", pixels))
        reference = lowering.reference(network, random, BATCH)
        facts = lowering.rewrite(file, reference, takes_pixels=False)
        parity = lowering.check(file, reference, single, takes_pixels=False)
        assert facts.constant_only_nodes == 0
        made[precision] = onnx.load(file), parity
    return made


@pytest.mark.parametrize("precision", HALVES)
def test_half_precision_is_typed_throughout(precision: str, lowered: dict[str, tuple[onnx.ModelProto, Parity]]) -> None:
    model, parity = lowered[precision]
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    assert type_errors(model) == []
    assert parity.cosine is not None
    assert parity.cosine.min >= LIMITS[precision].cosine
    assert 1e-5 < parity.max_rel_error < (0.01 if precision == "fp16" else 0.1)  # the graph is not float32


@pytest.mark.parametrize("precision", HALVES)
def test_float32_is_kept_for_unit_lengths_and_operators_without_bfloat16(
    precision: str, name: str, lowered: dict[str, tuple[onnx.ModelProto, Parity]]
) -> None:
    model, _ = lowered[precision]
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    single = {node.op_type for node in model.graph.node if kinds.get(node.output[0]) == onnx.TensorProto.FLOAT}
    patches = {"Conv", "Cast"} if precision == "bf16" else set()  # Conv accepts bfloat16 since opset 22
    lengths = {"Cast", "ReduceL2", "Clip", "Div"} if name == "swin v2" else set()
    assert single - {"Cast"} == (patches | lengths) - {"Cast"}
    floats = [tensor.name for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT]
    assert len(floats) == (name == "swin v2") + 2 * (
        precision == "bf16"
    )  # the epsilon; weight and bias of the patch embedding


@pytest.mark.parametrize("precision", [*HALVES, "int8"])
def test_no_constant_is_stored_twice(precision: str, lowered: dict[str, tuple[onnx.ModelProto, Parity]]) -> None:
    # ONNX Runtime cannot convert int8 constants that layers share, see engines.saturation.
    tensors = [each for each in lowered[precision][0].graph.initializer if each.data_type != onnx.TensorProto.INT8]
    assert tensors
    contents = [(each.data_type, tuple(each.dims), onnx.numpy_helper.to_array(each).tobytes()) for each in tensors]
    assert len(set(contents)) == len(contents)


def test_int8_layers_read_symmetric_pairs(lowered: dict[str, tuple[onnx.ModelProto, Parity]]) -> None:
    model, parity = lowered["int8"]
    nodes = {output: node for node in model.graph.node for output in node.output}
    numbers = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    quantized = [node for node in model.graph.node if nodes_of(node, nodes) == ["DequantizeLinear"] * 2]
    assert quantized
    assert {node.op_type for node in quantized} == {"MatMul"}
    for node in quantized:
        activation, weight = (nodes[name] for name in node.input[:2])
        assert nodes[activation.input[0]].op_type == "QuantizeLinear"
        assert numbers[weight.input[0]].dtype == np.int8
        assert numbers[weight.input[1]].shape == numbers[weight.input[0]].shape[1:]  # a scale for each output
        assert not numbers[weight.input[2]].any()
        assert not numbers[activation.input[2]].any()
    assert {node.domain for node in model.graph.node} == {""}
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 20)]
    assert parity.runs == ("native",)
    assert parity.calibration is not None
    assert (parity.calibration.directory, parity.calibration.images) == ("noise", 40)


def nodes_of(node: onnx.NodeProto, nodes: dict[str, onnx.NodeProto]) -> list[str]:
    """Return the operators that produce a node's inputs."""
    return [nodes[name].op_type for name in node.input if name in nodes]


@pytest.mark.parametrize("precision", [*HALVES, "int8"])
def test_the_batch_stays_dynamic(precision: str, lowered: dict[str, tuple[onnx.ModelProto, Parity]]) -> None:
    graph = lowered[precision][0].graph
    assert all(value.type.tensor_type.shape.dim[0].dim_param for value in (graph.input[0], graph.output[0]))


def test_emulated_and_native_float16_agree(lowered: dict[str, tuple[onnx.ModelProto, Parity]], name: str) -> None:
    typed = lowered["fp16"][0]
    image = np.random.default_rng(1).normal(size=(3, 3, *NETWORKS[name].image_size)).astype(np.float32)
    native, emulated = run(ir.from_proto(typed), image), run(emulate(ir.from_proto(typed)), image)
    assert 0 < np.abs(native - emulated).max() < 5e-3 * np.abs(native).max()
    coarse = run(emulate(ir.from_proto(lowered["bf16"][0])), image)
    assert np.abs(native - coarse).max() > 5e-3 * np.abs(native).max()  # the comparison above is able to fail
