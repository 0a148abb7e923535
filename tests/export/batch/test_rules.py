"""Each operator that may be told the batch's size, in graphs traced with eleven images and run with other numbers."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from export.batch import free_batch
from export.errors import ExportError
from tests.export.passes.graphs import Array, graph_of

IMAGES = 11
WINDOWS = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)


def ints(*numbers: int) -> Array:
    return np.array(numbers, dtype=np.int64)


def run(model: ir.Model, image: Array) -> Array:
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    result = session.run(None, {"image": image})[0]
    assert isinstance(result, np.ndarray)
    return result


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
    "an end that only looks like the batch": (
        "(float[11,3,20] image) => (float[11,3,11] logits) { logits = Slice(image, b, c, d) }",
        {"b": ints(0), "c": ints(11), "d": ints(2)},
        lambda x: x[:, :, :11],
    ),
}


@pytest.mark.parametrize("case", FREED)
@pytest.mark.parametrize("images", [1, 2, 11, 30])
def test_a_node_takes_any_batch(case: str, images: int) -> None:
    text, constants, oracle = FREED[case]
    model = graph_of(text, **constants)
    first, *rest = (model.graph.inputs[0].shape or ir.Shape([])).numpy()
    image = np.random.default_rng(0).normal(size=(first // IMAGES * images, *rest)).astype(np.float32)
    free_batch(model, IMAGES)
    np.testing.assert_allclose(run(model, image), oracle(image), rtol=1e-6)


def test_shapes_name_the_batch_and_its_multiples() -> None:
    text, constants, _ = FREED["Reshape"]
    model = graph_of(text, **constants)
    free_batch(model, IMAGES)
    shapes = [str(value.shape) for value in (*model.graph.inputs, *model.graph.outputs)]
    assert shapes == ["[batch,3,4]", "[3*batch,4]"]


def differing() -> Array:
    constant = np.tile(WINDOWS, (11, 1))
    constant[7, 1] += 1
    return constant


REFUSED = {
    "two sizes are multiples": (
        "(float[11,22] image) => (float[22,11] logits) { logits = Reshape(image, c) }",
        {"c": ints(22, 11)},
        r"Reshape is given \[22, 11\]",
    ),
    "what is expanded is not there": (
        "(float[1,4] image) => (float[11,4] logits) { logits = Expand(image, c) }",
        {"c": ints(11, 4)},
        r"Expand is given \[11, 4\]",
    ),
    "a part of the batch is cut off": (
        "(float[22,4] image) => (float[11,4] logits) { logits = Slice(image, b, c, b) }",
        {"b": ints(0), "c": ints(11)},
        r"Slice is given \[11\]",
    ),
    "channels are resized to the batch": (
        '(float[1,1,2,2] image) => (float[1,11,2,2] logits) { logits = Resize<mode="nearest">(image, , , c) }',
        {"c": ints(1, 11, 2, 2)},
        r"Resize is given \[1, 11, 2, 2\]",
    ),
    "tokens are repeated for the batch": (
        "(float[1,4] image) => (float[11,4] logits) { logits = Tile(image, c) }",
        {"c": ints(11, 1)},
        r"Tile is given \[11, 1\]",
    ),
    "something is padded by the batch": (
        "(float[2,4] image) => (float[13,4] logits) { logits = Pad(image, c) }",
        {"c": ints(0, 0, 11, 0)},
        r"Pad is given \[0, 0, 11, 0\]",
    ),
    "a constant differs by image": (
        "(float[33,4] image) => (float[33,4] logits) { logits = Add(image, c) }",
        {"c": differing()},
        r"Add is given float32 \[33, 4\]",
    ),
    "a constant has the batch on another axis": (
        "(float[3,11] image) => (float[3,11] logits) { logits = Add(image, c) }",
        {"c": np.ones((1, 11), np.float32)},
        r"Add is given float32 \[1, 11\]",
    ),
    "a constant alone gives the result its size": (
        "(float[1,4] image) => (float[11,4] logits) { logits = Add(image, c) }",
        {"c": np.ones((11, 4), np.float32)},
        r"Add is given float32 \[11, 4\]",
    ),
    "a constant is joined with images": (
        "(float[11,4] image) => (float[11,6] logits) { logits = Concat<axis=1>(image, c) }",
        {"c": np.ones((11, 2), np.float32)},
        r"Concat is given float32 \[11, 2\]",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_graph_is_refused_when(case: str) -> None:
    text, constants, shown = REFUSED[case]
    model = graph_of(text, **constants)
    next(iter(model.graph)).metadata_props["pkg.torch.onnx.name_scopes"] = "['', 'blocks.3', 'add']"
    with pytest.raises(ExportError, match=f"^the batch is frozen in module blocks.3: with 2 and 11 images, {shown}; "):
        free_batch(model, IMAGES)
