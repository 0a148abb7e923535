"""Position constants found in graphs of the digits variants and in hand-written graphs."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import helper, numpy_helper

from artifact import read_artifact
from export.report.constants import find_constants
from export.report.pictures import HEADS, MAPS, draw_constants
from models.sources import Checkpoint, Overrides, load_source
from models.swin import SwinBlock
from tests.conftest import DIGITS
from tests.export.report.reading import decode
from tests.export.report.test_heat_maps import assert_drawn

FOUND = {  # module and role of each constant
    "none": [],
    "learned": [("position", "embedding")],
    "sincos": [("position", "embedding")],
    "alibi-2d": [("blocks.0.attention", "bias")],
    "rope": [("blocks.0.attention", "rotation")],
    "beit-table": [(f"blocks.{layer}.attention", "bias") for layer in range(3)],
    "irpe-product-contextual-k": [(f"blocks.{layer}.attention.encoding.k.product", "table") for layer in range(3)],
    "shaw-kv": [(f"blocks.{layer}.attention.encoding.{part}", "table") for layer in range(3) for part in "kv"],
}


@pytest.mark.parametrize("variant", FOUND)
def test_the_position_constants_of_a_network_and_nothing_else_are_found(variant: str, digits_repository: Path) -> None:
    model = ir.load(read_artifact(digits_repository / "digits" / variant / "1").graph)
    found = find_constants(model)
    assert [constant.role for constant in found] == [role for _, role in FOUND[variant]]
    for constant, (module, _) in zip(found, FOUND[variant], strict=True):
        assert constant.name.startswith(f"{module}.")


@pytest.mark.parametrize("variant", ["swin-table", "swin-log-cpb"])
def test_windows_and_heads_are_distinguished_as_in_the_network(variant: str, digits_repository: Path) -> None:
    model = ir.load(read_artifact(digits_repository / "digits" / variant / "1").graph)
    weights = Checkpoint(DIGITS / "checkpoints" / f"{variant}.safetensors")
    network = load_source(f"posbake:{DIGITS / 'configs' / variant}.json", weights, Overrides()).network
    blocks = {name: block for name, block in network.named_modules() if isinstance(block, SwinBlock)}
    found = find_constants(model)
    assert {constant.role for constant in found} == {"bias"}
    for name, block in blocks.items():
        own = [constant.windows for constant in found if constant.name.startswith(f"{name}.")]
        bias = block.attention.encoding.bias()
        assert bias is not None
        assert any(windows.shape[1] == block.attention.num_heads for windows in own)
        mask = torch.zeros(1, *bias.shape[1:]) if block.mask is None else block.mask
        expected = (bias[None] + mask[:, None]).detach().numpy()  # [W, H, N, N]
        total = sum(own, start=np.zeros_like(expected))
        np.testing.assert_allclose(total, expected, rtol=0, atol=1e-5)
        with pytest.raises(AssertionError):  # the comparison is able to fail
            np.testing.assert_allclose(total[:, ::-1], expected, rtol=0, atol=1e-5)


def attention(layers: dict[str, np.ndarray], after: str = "MatMul") -> ir.Model:
    """Return a graph in which each constant is added to the output of an operator `after`, before a Softmax."""
    nodes, previous = [], "image"
    for name in layers:
        nodes += [
            helper.make_node(after, [previous, previous][: 2 if after == "MatMul" else 1], [f"{name}_scores"]),
            helper.make_node("Add", [f"{name}_scores", name], [f"{name}_added"]),
            helper.make_node("Softmax", [f"{name}_added"], [f"{name}_out"]),
        ]
        previous = f"{name}_out"
    graph = helper.make_graph(
        nodes,
        "attention",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info(previous, onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in layers.items()],
    )
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]))


def test_a_known_bias_is_drawn_head_by_head_number_by_number() -> None:
    values = np.random.default_rng(2).normal(size=(1, 3, 16, 20)).astype(np.float32)
    (picture,) = draw_constants(attention({"bias": values})).pictures
    assert picture.limit == np.abs(values).max()
    assert [drawn.title for drawn in picture.maps] == ["head 1", "head 2", "head 3"]
    for head, drawn in enumerate(picture.maps):
        assert_drawn(values[0, head], picture.limit, decode(drawn.source))
        assert f"16 × 20 numbers from {values[0, head].min():.3g} to {values[0, head].max():.3g}" in drawn.text
    with pytest.raises(AssertionError):  # the comparison is able to fail
        assert_drawn(values[0, 0], picture.limit, decode(picture.maps[1].source))


def test_a_bias_of_one_row_is_drawn_as_a_strip() -> None:
    row = np.random.default_rng(7).normal(size=(1, 3, 1, 20)).astype(np.float32)
    (picture,) = draw_constants(attention({"bias": row})).pictures
    assert picture.shape == (1, 3, 1, 20)
    for head, drawn in enumerate(picture.maps):
        assert_drawn(row[0, head], picture.limit, decode(drawn.source))
        assert "heat map of 1 × 20 numbers" in drawn.text


def test_the_first_window_with_a_mask_is_drawn_in_grey() -> None:
    mask = np.zeros((1, 4, 1, 16, 16), np.float32)
    mask[0, 2:, 0, :8, 8:] = -100.0
    (picture,) = draw_constants(attention({"mask": mask})).pictures
    assert picture.has_mask
    assert "window 3 of 4" in picture.notes
    assert_drawn(mask[0, 2, 0], 1.0, decode(picture.maps[0].source))


def test_scales_and_additions_outside_attention_are_not_biases() -> None:
    assert find_constants(attention({"scale": np.ones((1, 3, 1, 1), np.float32)})) == []
    wide = np.random.default_rng(3).normal(size=(2, 16, 16)).astype(np.float32)
    outside = attention({"bias": wide})
    softmax = next(node for node in outside.graph if node.op_type == "Softmax")
    softmax.op_type = "Relu"
    assert find_constants(outside) == []


def test_embeddings_are_drawn_as_cosines_after_subtracting_their_mean() -> None:
    tokens = np.random.default_rng(4).normal(size=(10, 6)).astype(np.float32)
    model = attention({"position": tokens + 40})
    softmax = next(node for node in model.graph if node.op_type == "Softmax")
    softmax.op_type = "Relu"
    (picture,) = draw_constants(model).pictures
    centred = [[float(n) - float(m) for n, m in zip(row, tokens.mean(0), strict=True)] for row in tokens]
    dots = np.array([[sum(a * b for a, b in zip(x, y, strict=True)) for y in centred] for x in centred])
    lengths = np.sqrt(np.diag(dots))
    assert_drawn(dots / lengths[:, None] / lengths, 1.0, decode(picture.maps[0].source))


@pytest.mark.slow
def test_the_images_of_a_large_network_stay_below_two_megabytes() -> None:
    random = np.random.default_rng(5)
    layers = {f"layer{i}": random.normal(size=(1, 48, 144, 144)).astype(np.float32) for i in range(24)}  # Swin-L, noise
    gallery = draw_constants(attention(layers))
    assert len(gallery.pictures) == 24
    assert {len(picture.maps) for picture in gallery.pictures} == {MAPS // 24}
    assert {picture.notes for picture in gallery.pictures} == {("10 of 48 heads", "144×144 averaged to 64×64")}
    assert sum(len(drawn.source) for picture in gallery.pictures for drawn in picture.maps) < 1.8e6


def test_omitted_constants_and_heads_are_counted() -> None:
    noise = np.random.default_rng(6).normal(size=(MAPS + 5, 1, 16, 16)).astype(np.float32)
    gallery = draw_constants(attention({f"layer{i}": bias for i, bias in enumerate(noise)}))
    assert (len(gallery.pictures), gallery.left_out) == (MAPS, 5)
    many = draw_constants(attention({"bias": noise[: HEADS + 3, 0]})).pictures[0]
    assert (len(many.maps), many.notes) == (HEADS, (f"{HEADS} of {HEADS + 3} heads",))
