"""Names of new constants: different from those of other constants and of torch's operators."""

import numpy as np
import onnx
import onnx_ir as ir
import torch
from torch import Tensor

from export.passes.values import add_constant
from tests.export.graphs import baked_graph, open_graph, run_graph
from tests.export.passes.dynamic_batch.block import BATCHES, SIZE, TOLERANCE, Network, images
from tests.export.passes.graphs import filled, graph_of

EDGES = torch.tensor([-1.0, -0.3, 0.2, 0.8])


def test_a_number_is_appended_to_a_name_that_is_taken() -> None:
    text = """(float[2,3] image) => (float[2,3] logits) {
        add_1 = Add(image, add)
        logits = Add(add_1, add)
    }"""
    table = filled(np.random.default_rng(0), 3)
    model = graph_of(text, add=table)
    names = [add_constant(model, table, "add").name for _ in range(2)]
    assert len({"add", "add_1", "logits", *names}) == 5
    onnx.checker.check_model(ir.to_proto(model))


def intervals_of_scores(x: Tensor) -> Tensor:
    tokens = x.flatten(1)
    return torch.bucketize(tokens[:, :, None] * tokens[:, None], EDGES).to(x.dtype).mean(1)


def test_operators_with_numbered_names_and_repeated_constants_are_exported() -> None:
    # torch names the operators of bucketize floor_divide, floor_divide_1, …
    network = Network(intervals_of_scores).eval()
    graph = baked_graph(network, SIZE)
    names = [value.name for node in graph.graph for value in node.outputs]
    assert len({*names, *graph.graph.initializers}) == len(names) + len(graph.graph.initializers)
    session = open_graph(graph)
    for batch in BATCHES:
        with torch.no_grad():
            expected = network(images(batch))
        torch.testing.assert_close(run_graph(session, images(batch)), expected, rtol=TOLERANCE, atol=TOLERANCE)
