"""Traced graphs: dynamic batch or an error, and counts of operators and constants."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from artifact import Batch
from export.passes.graph import build_graph
from export.process.errors import ExportError
from export.write.describe import describe_graph
from tests.export.passes.dynamic_batch.block import ConstantOfExampleBatch, LookupByBatch

MANY = Batch(min=1, max=8)


@pytest.mark.parametrize("network", [LookupByBatch(), ConstantOfExampleBatch()])
def test_a_network_that_hard_codes_the_batch_is_refused(network: nn.Module) -> None:
    with pytest.raises(ExportError, match="batch"):
        build_graph(network.eval(), torch.zeros(2, 3, 4), MANY, 20)


def test_a_batch_of_fixed_size_is_exported_on_request() -> None:
    model = build_graph(nn.Flatten().eval(), torch.zeros(1, 3, 4), Batch(min=1, max=1), 20).model
    assert list(model.graph.inputs[0].shape or ()) == [1, 3, 4]


def test_a_dynamic_batch_stays_dynamic() -> None:
    model = build_graph(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)).eval(), torch.zeros(2, 3, 4), MANY, 20).model
    for value, rest in ((model.graph.inputs[0], [3, 4]), (model.graph.outputs[0], [5])):
        assert value.shape is not None
        assert not isinstance(value.shape[0], int)
        assert list(value.shape)[1:] == rest


def test_facts_count_tables_and_constant_only_nodes() -> None:
    nodes = [
        helper.make_node("Gather", ["table", "index"], ["bias"]),
        helper.make_node("Gather", ["image", "index"], ["some"], axis=1),
        helper.make_node("Add", ["some", "bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(np.zeros(4, np.float32), "table"), numpy_helper.from_array(np.array([0, 1]), "index")],
    )
    model = ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]))
    facts = describe_graph(model)
    assert (facts.nodes, facts.constant_only_nodes, facts.table_gathers) == (3, 1, 1)
    assert facts.ops == {"Add": 1, "Gather": 2}
    assert isinstance(ir.to_proto(model), onnx.ModelProto)


class Queries(nn.Module):
    """A network whose learned queries are expanded for every image."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, 2, 8, generator=torch.Generator().manual_seed(0)))

    def forward(self, x: Tensor) -> Tensor:
        queries = self.query.expand(len(x), -1, -1) * torch.ones(len(x), 1, 1)
        return (queries @ x.flatten(2).transpose(1, 2)).flatten(1)


def test_a_constant_repeated_for_every_image_is_reported_once() -> None:
    built = build_graph(Queries().eval(), torch.zeros(2, 3, 2, 4), MANY, 20)
    made = next(constant for constant in built.constants if constant.name == "query_baked")
    assert (made.shape, made.bytes) == ((1, 2, 8), 2 * 8 * 4)
