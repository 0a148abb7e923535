"""Per-head bias and window mask are merged into one constant, or declined with a reason."""

import numpy as np
import onnx_ir as ir
import pytest

from export.passes import fold_shifts
from export.passes.fold_shifts import FoldShifts
from export.passes.values import made_from, name_after_sources
from tests.export.passes.graphs import Array, filled, folded, graph_of, ints, operators, shapes

SEEDS = (0, 1, 2)


def sizes_of_windows(seed: int) -> tuple[int, int, int, int]:
    """Return random sizes: images B, windows W, heads H and tokens N per window."""
    batch, windows, heads, tokens = (int(size) for size in np.random.default_rng(seed).integers(2, 6, size=4))
    return batch, windows, heads, tokens


def windows(seed: int, *, bias: str = "Add(scores, bias)", mask: str = "Add(apart, mask)", **other: Array) -> ir.Model:
    """Return a graph that adds a per-head bias and then a window mask to scores [B·W, H, N, N], as Swin does."""
    random = np.random.default_rng(seed)
    batch, count, heads, tokens = sizes_of_windows(seed)
    sizes = f"[{batch * count},{heads},{tokens},{tokens}]"
    text = f"""(float{sizes} image) => (float{sizes} logits) {{
        scores = Relu(image)
        biased = {bias}
        apart = Reshape(biased, five)
        masked = {mask}
        joined = Reshape(masked, four)
        logits = Softmax(joined)
    }}"""
    covered = np.where(random.random((1, count, 1, tokens, tokens)) < 0.3, -100, 0).astype(np.float32)
    constants = {
        "bias": filled(random, 1, heads, tokens, tokens),
        "mask": covered,
        "five": ints(batch, count, heads, tokens, tokens),
        "four": ints(batch * count, heads, tokens, tokens),
    }
    return graph_of(text, **constants | other)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("bias", ["Add(scores, bias)", "Add(bias, scores)", "Sub(scores, bias)"])
@pytest.mark.parametrize("mask", ["Add(apart, mask)", "Add(mask, apart)", "Sub(apart, mask)"])
def test_bias_and_mask_of_windows_become_one_constant_without_the_batch(seed: int, bias: str, mask: str) -> None:
    model = windows(seed, bias=bias, mask=mask)
    _, count, heads, tokens = sizes_of_windows(seed)
    assert folded(FoldShifts, model)
    assert operators(model) == ["Relu", "Reshape", "Add" if mask.startswith("Add") else "Sub", "Reshape", "Softmax"]
    left = (1, count, heads, tokens, tokens)
    name_after_sources(model)
    assert {name: shape for name, shape in shapes(model).items() if len(shape) > 1} == {"bias": left}
    assert made_from(model.graph.initializers["bias"]) == ("bias", "mask")


def test_keep_bias_and_mask_apart_when_the_mask_differs_by_image() -> None:
    batch, count, _, tokens = sizes_of_windows(0)
    random = np.random.default_rng(0)
    model = windows(0, mask="Add(apart, mask)", mask_of_images=filled(random, batch, count, 1, tokens, tokens))
    every = model.graph.initializers["mask_of_images"]
    node = next(node for node in model.graph if node.outputs[0].name == "masked")
    node.replace_input_with(1, every)
    fold = FoldShifts(batch=batch)
    assert not fold(model).modified
    assert any("depend on the batch size" in declined.reason for declined in fold.declined)
    assert FoldShifts(batch=101)(model).modified


def test_keep_bias_and_mask_apart_when_the_merged_constant_would_be_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold_shifts, "LARGEST", 1000)
    model = windows(1)
    fold = FoldShifts()
    assert not fold(model).modified
    assert any("MiB" in declined.reason for declined in fold.declined)


def test_the_comparison_is_able_to_fail() -> None:
    class Wrong(FoldShifts):
        """A pass that changes the mask first."""

        def call(self, model: ir.Model) -> ir.passes.PassResult:
            mask = model.graph.initializers["mask"]
            assert mask.const_value is not None
            mask.const_value = ir.tensor(mask.const_value.numpy() / 50, name="mask")
            return super().call(model)

    with pytest.raises(AssertionError):
        folded(Wrong, windows(0))
