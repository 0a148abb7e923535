"""int8 layers of small graphs: smoothing of outliers, shared scales, and layers that stay float32."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import NodeProto

from export.precision.layers import find_layers
from export.precision.observing import observe
from export.precision.pairs import norm_before
from export.precision.scales import to_int8, weight_scale
from export.process.errors import ExportError
from export.verify.parity import Limits
from tests.export.precision.hand_made import node
from tests.export.precision.int8_networks import (
    NORM,
    OUTLIER,
    TOKENS,
    WIDTH,
    loss,
    lowered,
    network,
    norm,
    operators,
    outlier_factors,
    random,
    reference,
)


def test_outliers_of_a_norm_are_folded_into_the_products_that_read_it() -> None:
    body = [norm("n"), node("MatMul", ["n", "wide"], ["a"]), node("MatMul", ["n", "other"], ["b"])]
    seeds = {"wide": 3, "other": 4}
    weights = {name: random(WIDTH, WIDTH, seed=seed) / outlier_factors(60)[:, None] for name, seed in seeds.items()}
    model = network([*body, node("Add", ["a", "b"], ["y"])], **NORM, **weights)
    made, kept = lowered(model)
    assert kept == {}
    assert operators(made).count("QuantizeLinear") == 1  # both products read the same pair
    assert operators(made).count("DequantizeLinear") == 3
    assert "Mul" not in operators(made)
    assert loss(model, made) < 0.02
    assert loss(model, without_smoothing(model)) > 0.04  # smoothing reduces the loss


def without_smoothing(model: ir.Model) -> ir.Model:
    """Return the model with activations and weights rounded to int8 by plain max scaling, without smoothing."""
    made = ir.from_proto(ir.to_proto(model))
    groups = find_layers(made)
    batches = list(reference(model).inputs(takes_pixels=False))
    for layers, seen in zip(groups, observe(made, groups, batches, len(batches)), strict=True):
        scale = np.float32(seen.largest.max() / 127)
        for product in layers.products:
            weight = product.inputs[1]
            assert weight is not None
            assert weight.const_value is not None
            numbers = weight.const_value.numpy()
            units = weight_scale(numbers, 1)
            weight.const_value = ir.tensor(to_int8(numbers, units) * units, name=weight.name)
        constants = {"unit": scale, "low": np.float32(-127), "high": np.float32(127)}
        values = {name: constant(made, f"{layers.name}_{name}", number) for name, number in constants.items()}
        divided = ir.node("Div", [layers.activation, values["unit"]])
        rounded = ir.node("Round", [divided.outputs[0]])
        limited = ir.node("Clip", [rounded.outputs[0], values["low"], values["high"]])
        scaled = ir.node("Mul", [limited.outputs[0], values["unit"]])
        made.graph.insert_before(layers.products[0], [divided, rounded, limited, scaled])
        for product in layers.products:
            product.replace_input_with(0, scaled.outputs[0])
    return made


def constant(model: ir.Model, name: str, number: np.float32) -> ir.Value:
    value = ir.Value(name=name, const_value=ir.tensor(np.asarray(number), name=name))
    model.graph.register_initializer(value)
    return value


@pytest.mark.parametrize(("factor", "muls"), [(60.0, 1), (1.0, 0)])
def test_without_a_norm_outliers_need_a_mul_and_equal_channels_need_none(factor: float, muls: int) -> None:
    body = [
        node("Tanh", ["x"], ["a"]),
        node("Mul", ["a", "factors"], ["b"]),
        node("MatMul", ["b", "weight"], ["y"]),
    ]
    signs = np.sign(random(WIDTH, WIDTH, seed=3))
    model = network(body, factors=outlier_factors(factor), weight=signs / outlier_factors(factor)[:, None])
    made, _ = lowered(model)
    assert operators(made).count("QuantizeLinear") == 1
    assert operators(made).count("Mul") == 1 + muls
    assert loss(model, made) < 0.02


def test_other_readers_of_a_norm_get_its_unsmoothed_output() -> None:
    body = [norm("n"), node("MatMul", ["n", "wide"], ["a"]), node("Add", ["a", "n"], ["y"])]
    model = network(body, **NORM, wide=random(WIDTH, WIDTH, seed=3) / outlier_factors(60)[:, None])
    made, _ = lowered(model)
    assert operators(made).count("Mul") == 1
    assert loss(model, made) < 0.02
    (residual,) = (each for each in made.graph if each.op_type == "Add")
    assert [value.producer().op_type for value in residual.inputs] == ["MatMul", "LayerNormalization"]  # type: ignore[union-attr]


MOVES = {
    "tokens by Reshape and Transpose": (
        [
            node("Reshape", ["n", "to_windows"], ["r"]),
            node("Transpose", ["r"], ["t"], perm=[0, 2, 1, 3]),
            node("MatMul", ["t", "wide"], ["a"]),
            node("Reshape", ["a", "back"], ["y"]),
        ],
        True,
    ),
    "tokens by Gather": (
        [node("Gather", ["n", "order"], ["g"], axis=1), node("MatMul", ["g", "wide"], ["y"])],
        True,
    ),
    "channels by Gather": (
        [node("Gather", ["n", "channels"], ["g"], axis=2), node("MatMul", ["g", "wide"], ["y"])],
        False,
    ),
    "channels by Transpose": (
        [
            node("Transpose", ["n"], ["t"], perm=[0, 2, 1]),
            node("MatMul", ["t", "short"], ["a"]),
            node("Transpose", ["a"], ["y"], perm=[0, 2, 1]),
        ],
        False,
    ),
    "channels by Reshape": (
        [
            node("Reshape", ["n", "halves"], ["h"]),
            node("MatMul", ["h", "short"], ["a"]),
            node("Reshape", ["a", "back"], ["y"]),
        ],
        False,
    ),
}


@pytest.mark.parametrize(("axis", "found"), [(-1, True), (2, True), (1, False), (-2, False)])
def test_outliers_are_folded_into_a_norm_of_the_last_axis_only(axis: int, found: bool) -> None:
    """ONNX counts a positive axis from the first, of [batch, TOKENS, WIDTH] here."""
    shape = (WIDTH,) if found else (TOKENS, WIDTH)
    weights = {"outlier_factors": np.broadcast_to(outlier_factors(60), shape).copy(), "shift": random(*shape, seed=2)}
    wide = random(WIDTH, WIDTH, seed=3) / outlier_factors(60)[:, None]
    normalise = node("LayerNormalization", ["x", "outlier_factors", "shift"], ["n"], axis=axis)
    model = network([normalise, node("MatMul", ["n", "wide"], ["y"])], **weights, wide=wide)
    (layers,) = find_layers(model)
    assert (norm_before(layers) is not None) == found
    made, _ = lowered(model)
    assert operators(made).count("Mul") == (not found)
    assert loss(model, made) < 0.02


@pytest.mark.parametrize("what", MOVES)
def test_a_norm_is_found_through_movements_of_tokens_but_not_of_channels(what: str) -> None:
    body, found = MOVES[what]
    constants: dict[str, NDArray[np.generic]] = {
        "to_windows": np.array([-1, 2, TOKENS // 2, WIDTH], np.int64),
        "back": np.array([-1, TOKENS, WIDTH], np.int64),
        "halves": np.array([-1, 2 * TOKENS, WIDTH // 2], np.int64),
        "order": np.arange(TOKENS)[::-1].copy(),
        "channels": np.arange(WIDTH)[::-1].copy(),
        "wide": random(WIDTH, WIDTH, seed=3),
        "short": random(TOKENS, TOKENS, seed=3),
    }
    read = {name for each in body for name in each.input}
    model = network([norm("n"), *body], **NORM, **{k: v for k, v in constants.items() if k in read})
    (layers,) = find_layers(model)
    assert (norm_before(layers) is not None) == found
    made, _ = lowered(model)
    assert loss(model, made) < (0.2 if "Transpose" in what and not found else 0.03)  # with outliers in every row


OTHER_PRODUCTS = {
    "Gemm with a transposed weight": (
        [
            node("Reshape", ["x", "rows"], ["r"]),
            node("Gemm", ["r", "weight"], ["a"], transB=1),
            node("Reshape", ["a", "back"], ["y"]),
        ],
        {
            "rows": np.array([-1, WIDTH], np.int64),
            "weight": (random(WIDTH, WIDTH, seed=3) * outlier_factors(20)).T.copy(),
        },
        0,
    ),
    "Gemm": (
        [
            node("Reshape", ["x", "rows"], ["r"]),
            node("Gemm", ["r", "weight"], ["a"]),
            node("Reshape", ["a", "back"], ["y"]),
        ],
        {"rows": np.array([-1, WIDTH], np.int64), "weight": random(WIDTH, WIDTH, seed=3) * outlier_factors(20)},
        1,
    ),
    "Conv": (
        [
            node("Reshape", ["x", "map"], ["r"]),
            node("Conv", ["r", "weight"], ["a"], pads=[1, 1, 1, 1]),
            node("Reshape", ["a", "back"], ["y"]),
        ],
        {
            "map": np.array([-1, WIDTH, 2, 4], np.int64),
            "weight": random(WIDTH, WIDTH, 3, 3, seed=3) * outlier_factors(20)[:, None, None, None],
        },
        0,
    ),
}


@pytest.mark.parametrize("what", OTHER_PRODUCTS)
def test_each_output_of_a_gemm_or_a_conv_has_a_scale(what: str) -> None:
    body, constants, axis = OTHER_PRODUCTS[what]
    model = network(body, **constants, back=np.array([-1, TOKENS, WIDTH], np.int64))
    made, _ = lowered(model)
    proto = ir.to_proto(made)
    onnx.checker.check_model(proto, full_check=True)
    numbers = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    (pair,) = [each for each in proto.graph.node if each.op_type == "DequantizeLinear" and each.input[0] in numbers]
    assert onnx.helper.get_node_attr_value(pair, "axis") == axis
    assert numbers[pair.input[1]].argmax() == OUTLIER
    assert (np.abs(numbers[pair.input[0]]).max(axis=tuple({*range(numbers[pair.input[0]].ndim)} - {axis})) == 127).all()
    assert loss(model, made) < 0.03


def test_depth_wise_convolutions_stay_float32() -> None:
    body = [
        node("Reshape", ["x", "map"], ["r"]),
        node("Conv", ["r", "weight"], ["a"], pads=[1, 1, 1, 1], group=WIDTH),
        node("Reshape", ["a", "back"], ["y"]),
    ]
    sizes = {"map": np.array([-1, WIDTH, 2, 4], np.int64), "back": np.array([-1, TOKENS, WIDTH], np.int64)}
    model = network(body, **sizes, weight=random(WIDTH, 1, 3, 3))
    assert find_layers(model) == []
    with pytest.raises(ExportError, match="no layers with weights"):
        lowered(model)


@pytest.mark.slow
def test_calibration_observes_rows_of_all_tokens_and_the_range_of_each_channel() -> None:
    model = network([node("MatMul", ["x", "wide"], ["y"])], wide=random(WIDTH, WIDTH, seed=3))
    (layers,) = find_layers(model)
    batches = [random(6, 3, 8, 8, seed=seed) for seed in range(300)]
    (seen,) = observe(model, [layers], batches, len(batches))
    whole = np.concatenate([each.reshape(-1, 24) @ random(24, WIDTH) for each in batches])
    np.testing.assert_allclose(seen.largest, np.abs(whole).max(axis=0), rtol=1e-5)
    assert 1024 <= len(seen.rows) <= 2 * 1024
    near = np.abs(whole[:, None, 0] - seen.rows[None, :, 0]).argmin(axis=0)
    np.testing.assert_allclose(seen.rows, whole[near], rtol=1e-4, atol=1e-5)  # they are actual rows of the activation
    assert set(near % TOKENS) == set(range(TOKENS))


def with_outlier_token(count: int = 6) -> ir.Model:
    """Return consecutive layers; the input of the fourth has a token 300 times as large, which smoothing cannot fix."""
    tokens = np.ones((TOKENS, 1), np.float32)
    tokens[0] = 300
    nodes: list[NodeProto] = []
    constants: dict[str, NDArray[np.generic]] = {"large": tokens, "small": 1 / tokens}
    value = "x"
    for number in range(count):
        constants[f"w{number}"] = random(WIDTH, WIDTH, seed=number) / 4
        if number == 3:
            nodes.append(node("Mul", [value, "large"], ["much"]))
        nodes.append(node("MatMul", ["much" if number == 3 else value, f"w{number}"], [f"p{number}"]))
        value = f"p{number}"
        if number == 3:
            nodes.append(node("Mul", [value, "small"], ["less"]))
            value = "less"
    nodes[-1].output[0] = "y"
    return network(nodes, **constants)


@pytest.mark.slow
def test_the_layer_with_the_largest_error_stays_float32_if_a_limit_is_missed() -> None:
    model = with_outlier_token()
    assert lowered(model)[1] == {}
    made, kept = lowered(model, Limits(0.999, 0.0))
    assert kept == {"MatMul": 1}
    weights = [each.inputs[1] for each in made.graph if each.op_type == "MatMul"]
    floats = [weight.name for weight in weights if weight is not None and weight.is_initializer()]
    assert floats == ["first", "w3", "last"]
    assert loss(model, made) < 0.2 * loss(model, lowered(model)[0])


def test_all_layers_are_int8_if_a_quarter_in_float32_cannot_meet_the_limit() -> None:
    made, kept = lowered(with_outlier_token(), Limits(0.9998, 0.0))  # four of the six layers in float32 would meet it
    assert kept == {}
    assert operators(made).count("QuantizeLinear") == 6


def test_no_two_layers_share_a_constant_of_their_weights() -> None:
    """ONNX Runtime refuses to convert a shared one for CPUs without VNNI, see engines.saturation."""
    weight = random(WIDTH, WIDTH)
    body = [node("MatMul", ["x", "weight"], ["a"]), node("MatMul", ["a", "weight"], ["b"]), node("Tanh", ["b"], ["y"])]
    made, _ = lowered(network(body, weight=weight))
    weights = [each for each in made.graph if each.op_type == "DequantizeLinear" and "axis" in each.attributes]
    assert len({value for each in weights for value in each.inputs}) == 3 * len(weights) == 6
