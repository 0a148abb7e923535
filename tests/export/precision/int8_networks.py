"""Small graphs for tests of int8 layers."""

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from onnx import NodeProto

from export.precision.int8 import quantize
from export.tracing.pixels import Normalisation
from export.verify.parity import Limits
from export.verify.reference import Reference
from tests.export.precision.hand_made import Array, graph, node, run

TOKENS, WIDTH, CLASSES = 8, 16, 5
PLAIN = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
NONE = Limits(-1.0, 0.0)
OUTLIER = 3
"""Index of the channel with outliers."""


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def outlier_factors(factor: float) -> Array:
    """Return a factor for each channel: `factor` for the channel with outliers, 1 for the others."""
    factors = np.ones(WIDTH, np.float32)
    factors[OUTLIER] = factor
    return factors


def network(body: list[NodeProto], **constants: NDArray[np.generic]) -> ir.Model:
    """Return a network of a first layer, a body from `x` to `y`, both [batch, TOKENS, WIDTH], and a last layer."""
    nodes = [
        node("Reshape", ["image", "to_tokens"], ["tokens"]),
        node("MatMul", ["tokens", "first"], ["x"]),
        *body,
        node("Reshape", ["y", "to_row"], ["row"]),
        node("MatMul", ["row", "last"], ["logits"]),
    ]
    sizes = {"to_tokens": np.array([-1, TOKENS, 24], np.int64), "to_row": np.array([-1, TOKENS * WIDTH], np.int64)}
    ends = {"first": random(24, WIDTH), "last": random(TOKENS * WIDTH, CLASSES, seed=1)}
    model = graph(nodes, (3, 8, 8), (CLASSES,), **(sizes | ends | constants))
    for number, each in enumerate(model.graph):
        each.name = f"node_{number}"
    return model


def norm(into: str) -> NodeProto:
    """Return a norm of `x` whose weight gives one channel outliers."""
    return node("LayerNormalization", ["x", "outlier_factors", "shift"], [into], axis=-1)


NORM = {"outlier_factors": outlier_factors(60), "shift": random(WIDTH, seed=2)}


def reference(model: ir.Model, batches: int = 3) -> Reference:
    pixels = torch.randint(0, 256, (batches, 6, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    split = tuple(pixels)
    empty = Reference(split, PLAIN, np.zeros((6 * batches, CLASSES)), "nothing")
    logits = np.concatenate([run(model, images) for images in empty.inputs(takes_pixels=False)])
    return Reference(split, PLAIN, logits.astype(np.float64), "float32")


def lowered(model: ir.Model, limits: Limits = NONE) -> tuple[ir.Model, dict[str, int]]:
    return quantize(model, reference(model), limits, takes_pixels=False)


def loss(model: ir.Model, made: ir.Model) -> float:
    """Return the largest error of the logits, relative to the largest logit."""
    images = np.random.default_rng(9).random((20, 3, 8, 8), np.float32)
    expected = run(model, images)
    return float(np.abs(run(made, images) - expected).max() / np.abs(expected).max())


def operators(model: ir.Model) -> list[str]:
    return [each.op_type for each in model.graph]
