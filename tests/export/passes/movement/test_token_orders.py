"""Token orders on small Swin-like graphs: identical results and fewer movements of rows."""

from collections import Counter

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx_ir.passes import common

from export.passes.dynamic_batch import make_batch_dynamic
from export.passes.movement import AssignTokenOrders, ComposeMovement
from tests.export.passes.graphs import BATCH, Array, graph_of, ints, run_on

generator = np.random.default_rng(0)
many = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])


def weights(*shape: int) -> Array:
    return generator.normal(size=shape).astype(np.float32) / 3


def laid_out(model: ir.Model, batch: int | None = BATCH) -> bool:
    """Compose, assign orders and compose again, as `prepare` does, and return whether orders were assigned."""
    ComposeMovement(batch)(model)
    modified = AssignTokenOrders(batch)(model).modified
    common.RemoveUnusedNodesPass()(model)
    ComposeMovement(batch)(model)
    common.RemoveUnusedNodesPass()(model)
    return modified


def run_unfused(model: ir.Model, image: Array) -> Array:
    return run_on(model, image, optimise=False)


def counted(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


def block(number: int, source: str, *, shift: int) -> tuple[str, str]:
    """Return the nodes of a block that mixes the tokens of each window, and the name of its result."""
    n = f"b{number}"
    rolled, back = f"{n}_norm", f"{n}_whole"
    lines = [f"{n}_norm = LayerNormalization<axis=-1>({source}, scale, bias)"]
    if shift:
        for axis, name in ((1, "one"), (2, "two")):
            lines += [
                f"{n}_a{axis} = Slice({rolled}, zero, shift, {name})",
                f"{n}_r{axis} = Slice({rolled}, shift, side, {name})",
                f"{n}_s{axis} = Concat<axis={axis}>({n}_r{axis}, {n}_a{axis})",
            ]
            rolled = f"{n}_s{axis}"
    lines += [
        f"{n}_grid = Reshape({rolled}, grid)",
        f"{n}_turned = Transpose<perm=[0, 1, 3, 2, 4, 5]>({n}_grid)",
        f"{n}_windows = Reshape({n}_turned, windows)",
        f"{n}_in = MatMul({n}_windows, inner)",
        f"{n}_mixed = Softmax<axis=1>({n}_in)",
        f"{n}_out = MatMul({n}_mixed, outer)",
        f"{n}_apart = Reshape({n}_out, apart)",
        f"{n}_back = Transpose<perm=[0, 1, 3, 2, 4, 5]>({n}_apart)",
        f"{n}_whole = Reshape({n}_back, image_sizes)",
    ]
    if shift:
        for axis, name in ((1, "one"), (2, "two")):
            lines += [
                f"{n}_b{axis} = Slice({back}, zero, rest, {name})",
                f"{n}_c{axis} = Slice({back}, rest, side, {name})",
                f"{n}_d{axis} = Concat<axis={axis}>({n}_c{axis}, {n}_b{axis})",
            ]
            back = f"{n}_d{axis}"
    lines += [f"{n}_sum = Add({source}, {back})", f"{n}_gelu = Gelu({n}_sum)", f"{n} = MatMul({n}_gelu, square)"]
    return "\n".join(lines), n


def network(shifts: list[int], *, side: int = 8, window: int = 4, images: int = BATCH) -> ir.Model:
    """Return a graph of blocks [B, side, side, 6]."""
    lines, last = ["x = Relu(image)"], "x"
    for number, shift in enumerate(shifts):
        text, last = block(number, last, shift=shift)
        lines.append(text)
    count, channels = side // window, 6
    result = f"[{images},{side},{side},{channels}]"
    lines.append(f"logits = Neg({last})")
    shift = max(shifts)
    body = "\n".join(lines)
    return graph_of(
        f"(float[{images},{side},{side},{channels}] image) => (float{result} logits) {{ {body} }}",
        scale=weights(channels),
        bias=weights(channels),
        inner=weights(channels, 2 * channels),
        outer=weights(2 * channels, channels),
        square=weights(channels, channels),
        grid=ints(images, count, window, count, window, channels),
        windows=ints(-1, window * window, channels),
        apart=ints(images, count, count, window, window, channels),
        image_sizes=ints(images, side, side, channels),
        zero=ints(0),
        one=ints(1),
        two=ints(2),
        shift=ints(shift),
        rest=ints(side - shift),
        side=ints(side),
    )


def image_for(model: ir.Model) -> Array:
    shape = model.graph.inputs[0].shape
    assert shape is not None
    return np.random.default_rng(1).normal(size=shape.numpy()).astype(np.float32)


@pytest.mark.parametrize("shifts", [[0], [0, 0], [0, 2], [2, 2], [0, 2, 0, 2]])
def test_blocks_give_identical_results(shifts: list[int]) -> None:
    model = network(shifts)
    image = image_for(model)
    before = run_unfused(model, image)
    assert laid_out(model) == (len(shifts) > 1)  # one block costs as much either way
    np.testing.assert_array_equal(run_unfused(model, image), before)


def test_a_wrong_order_changes_the_results() -> None:
    model = network([0, 2])
    image = image_for(model)
    before = run_unfused(model, image)
    laid_out(model)
    index = next(node.inputs[1] for node in model.graph if node.op_type == "Gather")
    assert index is not None
    assert index.const_value is not None
    index.const_value = ir.tensor(np.roll(index.const_value.numpy(), 1), name=index.name)
    assert not np.array_equal(run_unfused(model, image), before)


def test_blocks_with_the_same_windows_share_one_order() -> None:
    model = network([0, 0, 0, 0])
    laid_out(model)
    ops = counted(model)
    rows_moved = ops["Gather"] + ops["Transpose"]
    assert rows_moved == 2, ops  # into windows, and out of them at the end
    assert not ops["Slice"] + ops["Concat"]


def test_a_change_of_windows_moves_rows_once() -> None:
    model = network([0, 2, 0, 2])
    laid_out(model)
    ops = counted(model)
    assert ops["Gather"] + ops["Transpose"] == 5, ops
    assert not ops["Slice"] + ops["Concat"]


@pytest.mark.parametrize("images", [1, 2, 3, 7])
def test_a_reordered_graph_accepts_any_batch(images: int) -> None:
    model = network([0, 2])
    image = image_for(model)
    expected = run_unfused(model, image)
    laid_out(model)
    make_batch_dynamic(model, BATCH)
    np.testing.assert_array_equal(run_unfused(model, image[:images]), expected[:images])


@pytest.mark.parametrize("images", [1, 4])
def test_token_orders_are_assigned_for_a_fixed_batch_too(images: int) -> None:
    model = network([0, 2], images=images)
    image = image_for(model)
    before = run_unfused(model, image)
    assert laid_out(model, None)
    np.testing.assert_array_equal(run_unfused(model, image), before)


@pytest.mark.slow
@many
@given(
    st.sampled_from([(4, 2), (6, 2), (6, 3), (8, 4), (9, 3)]),
    st.lists(st.booleans(), min_size=1, max_size=3),
    st.sampled_from([2, 3, 5]),
)
def test_any_sequence_of_blocks_gives_identical_results(
    sizes: tuple[int, int], shifted: list[bool], images: int
) -> None:
    side, window = sizes
    model = network([window // 2 if one else 0 for one in shifted], side=side, window=window, images=images)
    image = image_for(model)
    before = run_unfused(model, image)
    laid_out(model, None)
    np.testing.assert_array_equal(run_unfused(model, image), before)


@pytest.mark.parametrize("first", [True, False], ids=["added before", "not added before"])
@pytest.mark.parametrize("second", [True, False], ids=["added after", "not added after"])
def test_token_constants_are_permuted_with_the_tokens(*, first: bool, second: bool) -> None:
    blocks = "".join(
        f"""
        ordered{n} = Gather<axis=1>(x{n}, order)
        again{n} = {"Add(ordered" + str(n) + ", later)" if second else f"Neg(ordered{n})"}
        apart{n} = Reshape(again{n}, windows)
        mixed{n} = Softmax<axis=1>(apart{n})
        whole{n} = Reshape(mixed{n}, tokens)
        back{n} = Gather<axis=1>(whole{n}, inverse)
        sum{n} = Add(back{n}, x{n})
        x{n + 1} = {f"Add(sum{n}, position)" if first else f"Neg(sum{n})"}"""
        for n in range(3)
    )
    text = f"(float[11,16,6] image) => (float[11,16,6] logits) {{ x0 = Relu(image) {blocks} \n logits = Neg(x3) }}"
    order = np.random.default_rng(3).permutation(16)
    constants = {
        "position": weights(1, 16, 6),
        "later": weights(1, 16, 6),
        "order": order,
        "inverse": np.argsort(order),
        "windows": ints(-1, 4, 6),
        "tokens": ints(11, 16, 6),
    }
    model = graph_of(text, **constants)
    image = image_for(model)
    before = run_unfused(model, image)
    assert laid_out(model)
    np.testing.assert_array_equal(run_unfused(model, image), before)


@pytest.mark.parametrize(
    "nodes",
    [
        pytest.param("y = Mul(x, x) \n z = MatMul(y, square)", id="nothing is moved"),
        pytest.param("y = Transpose<perm=[0, 2, 1, 3]>(x) \n z = Softmax<axis=1>(y)", id="nothing is row-wise"),
        pytest.param("y = Reshape(x, flat) \n w = MatMul(y, square) \n z = Reshape(w, image_sizes)", id="views alone"),
    ],
)
def test_keep_the_graph_unchanged_when(nodes: str) -> None:
    text = f"""(float[11,4,4,6] image) => (float[11,4,4,6] logits) {{
        x = Relu(image)
        {nodes}
        s = ReduceSum<keepdims=1>(z)
        logits = Add(s, image)
    }}"""
    model = graph_of(text, square=weights(6, 6), flat=ints(11, 16, 6), image_sizes=ints(11, 4, 4, 6))
    before = [node.op_type for node in model.graph]
    AssignTokenOrders(BATCH)(model)
    assert [node.op_type for node in model.graph] == before


def test_an_addition_of_rolled_rows_keeps_its_gather() -> None:
    text = """(float[11,8,6] image) => (float[11,8,6] logits) {
        x = Relu(image)
        a = Slice(x, zero, three, one)
        b = Slice(x, three, eight, one)
        rolled = Concat<axis=1>(b, a)
        y = Add(x, rolled)
        z = MatMul(y, square)
        logits = Softmax<axis=1>(z)
    }"""
    numbers = {"zero": ints(0), "one": ints(1), "three": ints(3), "eight": ints(8)}
    model = graph_of(text, square=weights(6, 6), **numbers)
    image = image_for(model)
    before = run_unfused(model, image)
    laid_out(model)
    np.testing.assert_array_equal(run_unfused(model, image), before)
    assert counted(model)["Gather"] == 1
