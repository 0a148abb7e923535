"""Every operator that can hold the batch size, in graphs traced with eleven images and run with other batch sizes."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from export.passes.dynamic_batch import make_batch_dynamic
from export.process.errors import ExportError
from tests.export.passes.graphs import BATCH, Array, graph_of, ints, run_on

PRODUCT = np.random.default_rng(2).normal(size=(3, 5, 4)).astype(np.float32)
OFFSETS = np.random.default_rng(3).integers(0, 7, size=(3, 5, 4))
WINDOWS = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)


Case = tuple[str, dict[str, Array], Callable[[Array], Array]]
FREED: dict[str, Case] = {
    "Reshape": (
        "(float[11,3,4] image) => (float[33,4] logits) { logits = Reshape(image, c) }",
        {"c": ints(33, 4)},
        lambda x: x.reshape(-1, 4),
    ),
    "Reshape in the middle": (
        """(float[11,3,4] image) => (float[3,11,4] logits) {
            a = Transpose<perm=[1, 0, 2]>(image)
            logits = Reshape(a, c)
        }""",
        {"c": ints(3, 11, 4)},
        lambda x: x.transpose(1, 0, 2),
    ),
    "Expand": (
        "(float[11,1,4] image) => (float[11,3,4] logits) { logits = Expand(image, c) }",
        {"c": ints(11, 3, 4)},
        lambda x: np.repeat(x, 3, axis=1),
    ),
    "Slice": (
        "(float[11,3,4] image) => (float[11,3,4] logits) { logits = Slice(image, b, c, b) }",
        {"b": ints(0), "c": ints(11)},
        lambda x: x,
    ),
    "Slice of two axes": (
        "(float[11,3,4] image) => (float[11,2,4] logits) { logits = Slice(image, b, c) }",
        {"b": ints(0, 1), "c": ints(22, 3)},
        lambda x: x[:, 1:],
    ),
    "Resize": (
        """(float[11,3,2,2] image) => (float[11,3,4,6] logits) {
            logits = Resize<mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric">
                (image, , , c)
        }""",
        {"c": ints(11, 3, 4, 6)},
        lambda x: x.repeat(2, axis=2).repeat(3, axis=3),
    ),
    "a constant for each window of each image": (
        "(float[33,4] image) => (float[33,4] logits) { logits = Sub(c, image) }",
        {"c": np.tile(WINDOWS, (11, 1))},
        lambda x: np.tile(WINDOWS, (len(x) // 3, 1)) - x,
    ),
    "a constant for each window, multiplied with something narrower": (
        "(float[33,4,2] image) => (float[33,5,2] logits) { logits = MatMul(c, image) }",
        {"c": np.tile(PRODUCT, (11, 1, 1))},
        lambda x: np.tile(PRODUCT, (len(x) // 3, 1, 1)) @ x,
    ),
    "a selection between the image and a constant": (
        """(float[11,3,4] image) => (float[11,3,4] logits) {
            a = Greater(image, z)
            logits = Where(a, image, c)
        }""",
        {"c": np.tile(WINDOWS, (11, 1, 1)), "z": np.zeros((), np.float32)},
        lambda x: np.where(x > 0, x, WINDOWS),
    ),
    "a constant that is joined with images": (
        "(float[11,4] image) => (float[11,6] logits) { logits = Concat<axis=1>(image, c) }",
        {"c": np.tile(np.array([[3.0, -np.inf]], np.float32), (11, 1))},
        lambda x: np.concatenate([x, np.tile(np.array([[3.0, -np.inf]], np.float32), (len(x), 1))], axis=1),
    ),
    "windows that are joined along another axis": (
        """(float[11,4] image) => (float[2,33,4] logits) {
            a = Reshape(image, s)
            b = Concat<axis=1>(a, a, a)
            logits = Concat<axis=0>(b, c)
        }""",
        {"s": ints(1, 11, 4), "c": np.tile(WINDOWS, (11, 1))[None]},
        lambda x: np.stack([np.tile(x, (3, 1)), np.tile(WINDOWS, (len(x), 1))]),
    ),
    "a mask that is joined with one of the image": (
        """(float[11,4] image) => (bool[11,6] logits) {
            a = Greater(image, z)
            logits = Concat<axis=1>(c, a)
        }""",
        {"c": np.tile(np.array([[True, False]]), (11, 1)), "z": np.zeros((), np.float32)},
        lambda x: np.concatenate([np.tile(np.array([[True, False]]), (len(x), 1)), x > 0], axis=1),
    ),
    "a constant that is expanded before it is added to the image": (
        """(float[11,1,4] image) => (float[11,3,4] logits) {
            a = Expand(c, s)
            b = Transpose<perm=[1, 0, 2]>(a)
            logits = Add(image, b)
        }""",
        {"c": WINDOWS[:, None], "s": ints(3, 11, 4)},
        lambda x: x + WINDOWS,
    ),
    "scores that are looked up by offset": (
        "(float[11,3,5,7] image) => (float[11,3,5,4] logits) { logits = GatherElements<axis=3>(image, c) }",
        {"c": np.tile(OFFSETS[0], (11, 3, 1, 1))},
        lambda x: np.take_along_axis(x, np.tile(OFFSETS[0], (len(x), 3, 1, 1)), axis=3),
    ),
    "some of the rows, counted from the end": (
        "(float[11,6,7] image) => (float[11,2,4] logits) { logits = GatherElements<axis=1>(image, c) }",
        {"c": np.tile(OFFSETS[:1, :2] - 3, (11, 1, 1))},
        lambda x: np.take_along_axis(x[:, :, :4], np.tile(OFFSETS[:1, :2] - 3, (len(x), 1, 1)), axis=1),
    ),
    "constants scattered at positions from the image": (
        """(float[11,4] image) => (float[11,4] logits) {
            a, b = TopK(image, k)
            logits = ScatterElements<axis=1>(image, b, c)
        }""",
        {"k": ints(2), "c": np.tile(WINDOWS[:1, :2], (11, 1))},
        lambda x: np.where(
            x >= np.sort(x, axis=1)[:, [-1]],
            WINDOWS[0, 0],
            np.where(x >= np.sort(x, axis=1)[:, [-2]], WINDOWS[0, 1], x),
        ),
    ),
    "an end that equals the batch size by chance": (
        "(float[11,3,20] image) => (float[11,3,11] logits) { logits = Slice(image, b, c, d) }",
        {"b": ints(0), "c": ints(11), "d": ints(2)},
        lambda x: x[:, :, :11],
    ),
}


@pytest.mark.parametrize("case", FREED)
@pytest.mark.parametrize("images", [1, 2, 11, 30])
def test_a_node_accepts_any_batch(case: str, images: int) -> None:
    text, constants, oracle = FREED[case]
    model = graph_of(text, **constants)
    first, *rest = (model.graph.inputs[0].shape or ir.Shape([])).numpy()
    image = np.random.default_rng(0).normal(size=(first // BATCH * images, *rest)).astype(np.float32)
    make_batch_dynamic(model, BATCH)
    expected = oracle(image)
    np.testing.assert_allclose(run_on(model, image), expected, rtol=1e-5, atol=1e-6)  # sums of four products in float32
    with pytest.raises(AssertionError):  # the comparison above is able to fail
        np.testing.assert_allclose(run_on(model, image[..., ::-1].copy()), expected, rtol=1e-5, atol=1e-6)
    assert {"Shape", "ConstantOfShape", "Range"}.isdisjoint(node.op_type for node in model.graph)


def test_sizes_of_a_resize_become_scales_where_they_give_the_same_sizes() -> None:
    text, constants, _ = FREED["Resize"]
    model = graph_of(text, **constants)
    make_batch_dynamic(model, BATCH)
    resize = model.graph[0]
    factors = resize.inputs[2]
    assert factors is not None
    assert factors.const_value is not None
    assert factors.const_value.numpy().tolist() == [1, 1, 2, 3]
    assert len(resize.inputs) == 3


def test_keep_sizes_of_a_resize_where_no_scale_gives_them() -> None:
    # 15 · float32(63 / 15) is below 63.
    model = graph_of(
        '(float[11,1,2,15] image) => (float[11,1,2,63] logits) { logits = Resize<mode="nearest">(image, , , c) }',
        c=ints(11, 1, 2, 63),
    )
    assert np.floor(np.float32(15) * (np.float32(63) / np.float32(15))) == 62
    make_batch_dynamic(model, BATCH)
    assert run_on(model, np.zeros((3, 1, 2, 15), np.float32)).shape == (3, 1, 2, 63)


def test_shapes_name_the_batch_and_its_multiples() -> None:
    text, constants, _ = FREED["Reshape"]
    model = graph_of(text, **constants)
    make_batch_dynamic(model, BATCH)
    shapes = [str(value.shape) for value in (*model.graph.inputs, *model.graph.outputs)]
    assert shapes == ["[batch,3,4]", "[3*batch,4]"]


def differing_by_image() -> Array:
    constant = np.tile(WINDOWS, (11, 1))
    constant[7, 1] += 1
    return constant


REFUSED = {
    "two sizes are multiples": (
        "(float[11,22] image) => (float[22,11] logits) { logits = Reshape(image, c) }",
        {"c": ints(22, 11)},
        r"Reshape reads the constant \[22, 11\]",
    ),
    "an axis of size 1 is expanded to the batch": (
        "(float[1,4] image) => (float[11,4] logits) { logits = Expand(image, c) }",
        {"c": ints(11, 4)},
        r"Expand reads the constant \[11, 4\]",
    ),
    "a part of the batch is cut off": (
        "(float[22,4] image) => (float[11,4] logits) { logits = Slice(image, b, c, b) }",
        {"b": ints(0), "c": ints(11)},
        r"Slice reads the constant \[11\]",
    ),
    "channels are resized to the batch": (
        '(float[1,1,2,2] image) => (float[1,11,2,2] logits) { logits = Resize<mode="nearest">(image, , , c) }',
        {"c": ints(1, 11, 2, 2)},
        r"Resize reads the constant \[1, 11, 2, 2\]",
    ),
    "tokens are repeated for the batch": (
        "(float[1,4] image) => (float[11,4] logits) { logits = Tile(image, c) }",
        {"c": ints(11, 1)},
        r"Tile reads the constant \[11, 1\]",
    ),
    "something is padded by the batch": (
        "(float[2,4] image) => (float[13,4] logits) { logits = Pad(image, c) }",
        {"c": ints(0, 0, 11, 0)},
        r"Pad reads the constant \[0, 0, 11, 0\]",
    ),
    "a constant differs by image": (
        "(float[33,4] image) => (float[33,4] logits) { logits = Add(image, c) }",
        {"c": differing_by_image()},
        r"Add reads the constant float32 \[33, 4\]",
    ),
    "lookup indices differ by image": (
        "(float[11,7] image) => (float[11,4] logits) { logits = GatherElements<axis=1>(image, c) }",
        {"c": np.arange(44).reshape(11, 4) % 7},
        r"GatherElements reads the constant int64 \[11, 4\]",
    ),
    "a constant has the batch on another axis": (
        "(float[3,11] image) => (float[3,11] logits) { logits = Add(image, c) }",
        {"c": np.ones((1, 11), np.float32)},
        r"Add reads the constant float32 \[1, 11\]",
    ),
    "a constant alone gives the result its size": (
        "(float[1,4] image) => (float[11,4] logits) { logits = Add(image, c) }",
        {"c": np.ones((11, 4), np.float32)},
        r"Add reads the constant float32 \[11, 4\]",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_graph_is_refused_when(case: str) -> None:
    text, constants, shown = REFUSED[case]
    model = graph_of(text, **constants)
    next(iter(model.graph)).metadata_props["pkg.torch.onnx.name_scopes"] = "['', 'blocks.3', 'add']"
    with pytest.raises(
        ExportError,
        match=f"^the network is batch-specialised in module blocks.3: traced with 2 and 11 images, {shown}; ",
    ):
        make_batch_dynamic(model, BATCH)
