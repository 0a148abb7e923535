"""Composed data movement in graphs: bit-identical results at no higher cost."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx_ir.passes import common

from export.passes.dynamic_batch import make_batch_dynamic
from export.passes.movement import ComposeMovement
from tests.export.passes.graphs import BATCH, graph_of, ints, operators, rewritten, run, run_on
from tests.export.passes.movement.chains import SHAPES, GraphOfChains, chains

many = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


SHIFTED_WINDOWS = """(float[11,8,8,5] image) => (float[11,8,8,5] logits) {
    x = Relu(image)
    top = Slice(x, zero, two, one)
    rest = Slice(x, two, eight, one)
    rolled = Concat<axis=1>(rest, top)
    left = Slice(rolled, zero, two, two)
    right = Slice(rolled, two, eight, two)
    shifted = Concat<axis=2>(right, left)
    grid = Reshape(shifted, grid_sizes)
    turned = Transpose<perm=[0, 1, 3, 2, 4, 5]>(grid)
    windows = Reshape(turned, windows_sizes)
    tokens = Reshape(windows, tokens_sizes)
    y = Softmax<axis=1>(tokens)
    apart = Reshape(y, apart_sizes)
    back = Transpose<perm=[0, 1, 3, 2, 4, 5]>(apart)
    whole = Reshape(back, image_sizes)
    logits = Add(whole, x)
}"""
CONSTANTS = {
    "zero": ints(0),
    "one": ints(1),
    "two": ints(2),
    "eight": ints(8),
    "grid_sizes": ints(11, 2, 4, 2, 4, 5),
    "windows_sizes": ints(-1, 4, 4, 5),
    "tokens_sizes": ints(-1, 16, 5),
    "apart_sizes": ints(-1, 2, 2, 4, 4, 5),
    "image_sizes": ints(-1, 8, 8, 5),
}


@pytest.mark.slow
@many
@given(st.data(), SHAPES.map(tuple), st.integers(1, 3))
def test_a_graph_of_random_chains_gives_identical_results(
    data: st.DataObject, shape: tuple[int, ...], count: int
) -> None:
    graph = GraphOfChains(shape)
    for _ in range(count):
        graph.add(data.draw(chains(shape)))
    before = run(graph.model)
    ComposeMovement()(graph.model)
    common.RemoveUnusedNodesPass()(graph.model)  # ONNX Runtime warns about unused constants
    for found, expected in zip(run(graph.model), before, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_shifted_windows_are_one_gather_of_rows() -> None:
    model = graph_of(SHIFTED_WINDOWS, **CONSTANTS)
    assert rewritten(lambda: ComposeMovement(BATCH), model)
    made = [operator for operator in operators(model) if operator not in ("Relu", "Softmax", "Add")]
    assert made == ["Reshape", "Gather", "Reshape", "Reshape", "Transpose", "Reshape"]


PIXELS = "(float[11,12,4,6] image) => (float[11,12,4,6] logits) { x = Relu(image) \n"


@pytest.mark.parametrize(("there", "back"), [("SpaceToDepth", "DepthToSpace"), ("DepthToSpace", "SpaceToDepth")])
def test_pixel_shuffle_and_its_reverse_cancel_out(there: str, back: str) -> None:
    model = graph_of(f"{PIXELS} a = {there}<blocksize=2>(x) \n b = {back}<blocksize=2>(a) \n logits = Neg(b) }}")
    assert rewritten(lambda: ComposeMovement(BATCH), model)
    assert operators(model) == ["Relu", "Neg"]


def test_pixel_shuffles_of_both_orders_are_composed() -> None:
    shuffle = 'DepthToSpace<blocksize=2, mode="CRD">'
    nodes = f"a = {shuffle}(x) \n b = SpaceToDepth<blocksize=2>(a)"
    nodes += f" \n c = {shuffle}(b) \n d = SpaceToDepth<blocksize=2>(c)"
    model = graph_of(f"{PIXELS} {nodes} \n logits = Neg(d) }}")
    assert rewritten(lambda: ComposeMovement(BATCH), model)
    assert not {"DepthToSpace", "SpaceToDepth"} & set(operators(model))


@pytest.mark.parametrize("images", [1, 2, 3, 7])
def test_composed_movement_accepts_any_batch(images: int) -> None:
    fixed, model = graph_of(SHIFTED_WINDOWS, **CONSTANTS), graph_of(SHIFTED_WINDOWS, **CONSTANTS)
    ComposeMovement(BATCH)(model)
    make_batch_dynamic(model, BATCH)
    image = np.random.default_rng(1).normal(size=(BATCH, 8, 8, 5)).astype(np.float32)
    expected = run_on(fixed, image)
    found = run_on(model, image[:images])
    np.testing.assert_array_equal(found, expected[:images])


def test_joined_queries_keys_and_values_become_one_split() -> None:
    text = """(float[11,9,24] image) => (float[11,2,9,9] logits, float[11,2,9,4] values) {
        x = Relu(image)
        apart = Reshape(x, sizes)
        turned = Transpose<perm=[2, 0, 3, 1, 4]>(apart)
        q1 = Slice(turned, i0, i1, i0)
        q = Squeeze(q1, i0)
        k1 = Slice(turned, i1, i2, i0)
        k = Squeeze(k1, i0)
        v1 = Slice(turned, i2, i3, i0)
        v = Squeeze(v1, i0)
        kt = Transpose<perm=[0, 1, 3, 2]>(k)
        logits = MatMul(q, kt)
        values = Neg(v)
    }"""
    places = {f"i{n}": ints(n) for n in range(4)}
    model = graph_of(text, sizes=ints(11, 9, 3, 2, 4), **places)
    before = len(operators(model))
    assert rewritten(lambda: ComposeMovement(BATCH), model)
    assert operators(model).count("Split") == 1
    assert not {"Slice", "Squeeze", "Gather"} & set(operators(model))
    assert len(operators(model)) <= before - 4


def test_a_step_without_a_plan_does_not_block_the_rest_of_its_chain() -> None:
    """The halves of rotated queries are exchanged, which is neither a view nor a Gather of rows."""
    results = ", ".join(f"float[11,2,9,4] {name}" for name in ("q", "turned", "k", "v"))
    text = f"""(float[11,9,24] image) => ({results}) {{
        x = Relu(image)
        apart = Reshape(x, sizes)
        laid = Transpose<perm=[2, 0, 3, 1, 4]>(apart)
        q1, k1, v1 = Split<axis=0, num_outputs=3>(laid)
        q2 = Squeeze(q1, zero)
        first, second = Split<axis=3, num_outputs=2>(q2)
        exchanged = Concat<axis=3>(second, first)
        k2 = Squeeze(k1, zero)
        q = Neg(q2)
        turned = Neg(exchanged)
        k = Neg(k2)
        v2 = Squeeze(v1, zero)
        v = Neg(v2)
    }}"""
    model = graph_of(text, sizes=ints(11, 9, 3, 2, 4), zero=ints(0))
    assert rewritten(lambda: ComposeMovement(BATCH), model)
    made = operators(model)
    assert (made.count("Concat"), made.count("Squeeze")) == (1, 0)


def test_one_window_of_each_image_is_not_gathered_from_the_windows_of_the_batch() -> None:
    text = """(float[11,8,6] image) => (float[22,4,6] a, float[11,4,6] b) {
        x = Relu(image)
        flat = Reshape(x, flat_sizes)
        windows = Reshape(flat, windows_sizes)
        apart = Reshape(windows, apart_sizes)
        one = Gather<axis=1>(apart, first)
        a = Neg(windows)
        b = Exp(one)
    }"""
    sizes = {"flat_sizes": ints(88, 6), "windows_sizes": ints(22, 4, 6), "apart_sizes": ints(11, 2, 4, 6)}
    model = graph_of(text, **sizes, first=np.asarray(1))
    assert rewritten(lambda: ComposeMovement(BATCH), model)
    assert "Slice" in operators(model) or "Gather" in operators(model)


def test_keys_transposed_after_windows_are_transposed_once() -> None:
    text = """(float[11,6,7,5] image) => (float logits) {
        x = Relu(image)
        a = Transpose<perm=[0, 2, 1, 3]>(x)
        b = Reshape(a, shape)
        c = Transpose<perm=[0, 2, 1]>(b)
        e = Exp(c)
        logits = ReduceSum<keepdims=0>(e)
    }"""
    model = graph_of(text, shape=ints(77, 6, 5))
    assert rewritten(lambda: ComposeMovement(BATCH), model)
    assert operators(model).count("Transpose") == 1


def test_a_result_with_two_readers_is_computed_once() -> None:
    text = """(float[4,6,8] image) => (float[4,6,8] a, float[4,6,8] b) {
        x = Relu(image)
        y = Reshape(x, wide)
        one = Gather<axis=0>(y, order)
        first = Reshape(one, whole)
        two = Gather<axis=0>(y, order)
        second = Reshape(two, whole)
        a = Neg(first)
        b = Exp(second)
    }"""
    order = np.random.default_rng(0).permutation(24)
    model = graph_of(text, wide=ints(24, 8), whole=ints(4, 6, 8), order=order)
    assert rewritten(ComposeMovement, model)
    assert operators(model).count("Gather") == 1


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        pytest.param("y = Transpose<perm=[0, 2, 1]>(x)", "no cheaper plan", id="one Transpose"),
        pytest.param("y = Reshape(x, wide)", "no cheaper plan", id="one view"),
        pytest.param(
            "z = Gather<axis=0>(x, images) \n y = Transpose<perm=[0, 2, 1]>(z)", "images", id="images selected by index"
        ),
        pytest.param("z = Gather<axis=2>(x, twice) \n y = Reshape(z, wide)", "", id="repeated rows"),
        pytest.param("n = Neg(x) \n y = Concat<axis=1>(x, n)", "several tensors", id="several sources"),
        pytest.param(
            "z = Slice(x, m1, m9, i1, m1) \n y = Transpose<perm=[0, 2, 1]>(z)", "negative step", id="backwards"
        ),
    ],
)
def test_keep_a_chain_unchanged(nodes: str, reason: str) -> None:
    text = f"""(float[11,6,4] image) => (float logits) {{
        x = Relu(image)
        {nodes}
        s = Exp(y)
        logits = ReduceSum<keepdims=0>(s)
    }}"""
    model = graph_of(
        text,
        wide=ints(11, 24),
        images=ints(*range(10, -1, -1)),
        twice=ints(0, 0, 1, 3),
        m1=ints(-1),
        m9=ints(-99),
        i1=ints(1),
    )
    before = operators(model)
    composed = ComposeMovement(BATCH)
    assert not composed(model).modified
    assert operators(model) == before
    assert any(reason in entry.reason for entry in composed.report)


def test_the_report_lists_each_chain_and_its_replacement() -> None:
    model = graph_of(SHIFTED_WINDOWS, **CONSTANTS)
    composed = ComposeMovement(BATCH)
    composed(model)
    (first, second) = composed.report
    assert (first.after, first.reason) == (("Reshape, Gather, Reshape",), "")
    assert first.before.count("Concat") == 2
    assert second.reason == "no cheaper plan"
