"""GridSample of a constant table, in graphs traced with eleven images and run with other batch sizes."""

import numpy as np
import onnx_ir as ir
import pytest

from export.passes.dynamic_batch import make_batch_dynamic
from tests.export.passes.graphs import BATCH, Array, graph_of, run_on


def sampled(table: Array, where: Array) -> Array:
    """Return bilinear samples [C, h, w] of a table [C, H, W] at (x, y) in −1 … 1, with corners at pixel centres."""
    _, height, width = table.shape
    result = np.zeros((len(table), *where.shape[:2]), np.float32)
    for row, column in np.ndindex(where.shape[:2]):
        x, y = (where[row, column] + 1) / 2 * (width - 1, height - 1)
        for j, i in ((j, i) for j in (int(y), int(y) + 1) for i in (int(x), int(x) + 1)):
            weight = max(0, 1 - abs(y - j)) * max(0, 1 - abs(x - i))
            result[:, row, column] += weight * table[:, min(j, height - 1), min(i, width - 1)]
    return result


@pytest.mark.parametrize("images", [1, 2, 7])
def test_a_table_is_sampled_at_the_positions_of_each_image(images: int) -> None:
    table = np.random.default_rng(4).normal(size=(1, 2, 4, 5)).astype(np.float32)
    model = graph_of(
        """(float[11,3,6,2] image) => (float[11,2,3,6] logits) {
            logits = GridSample<mode="linear", padding_mode="border", align_corners=1>(c, image)
        }""",
        c=np.tile(table, (BATCH, 1, 1, 1)),
    )
    make_batch_dynamic(model, BATCH)
    where = np.random.default_rng(5).uniform(-1, 1, size=(images, 3, 6, 2)).astype(np.float32)
    expected = np.stack([sampled(table[0], points) for points in where])
    np.testing.assert_allclose(run_on(model, where), expected, rtol=1e-4, atol=1e-5)
    stored = [value.const_value for value in model.graph.initializers.values() if value.uses()]
    assert (
        sum(tensor.size for tensor in stored if tensor is not None and tensor.dtype == ir.DataType.FLOAT) == table.size
    )
