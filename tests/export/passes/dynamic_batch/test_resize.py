"""Resize with a dynamic batch: a valid graph for sizes whose ratios are not exact in float32."""

import onnx
import onnx_ir as ir
import pytest
import torch
import torch.nn.functional as F

from tests.export.graphs import baked_graph, open_graph, run_graph
from tests.export.passes.dynamic_batch.block import SIZE, Network, images


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize("size", [(3, 5), (4, 5), (5, 8), (6, 10), (7, 11)])
def test_resized_grids_have_the_shape_that_onnx_infers(size: tuple[int, int], mode: str) -> None:
    network = Network(lambda x: F.interpolate(x, size=size, mode=mode).flatten(1)).eval()
    graph = baked_graph(network, SIZE)
    onnx.checker.check_model(ir.to_proto(graph), full_check=True)
    session = open_graph(graph)
    for batch in (1, 3):
        with torch.no_grad():
            expected = network(images(batch))
        tolerance = 1e-5 * float(expected.abs().max())  # float32, and a ratio of sizes that is rounded to float32
        torch.testing.assert_close(run_graph(session, images(batch)), expected, rtol=0, atol=tolerance)
