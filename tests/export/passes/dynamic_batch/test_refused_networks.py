"""Networks that depend on the batch size: an error with the name of the module."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from artifact import Batch
from export.passes.graph import build_graph
from export.process.errors import ExportError
from tests.export.graphs import OPSET, baked_graph, open_graph, run_graph
from tests.export.passes.dynamic_batch.block import (
    SIZE,
    TABLE,
    TOLERANCE,
    ConstantOfExampleBatch,
    LookupByBatch,
    images,
)
from tests.export.tracing.program.programs import Apply, Function

pytestmark = pytest.mark.slow


# Networks that must be refused


def different_by_more_than_rounding(x: Tensor) -> Tensor:
    return x.flatten(1) * TABLE[0, 0].expand(len(x), 1).mul(1 + 1e-4 * len(x))


def different_beside_a_mask(x: Tensor) -> Tensor:
    bias = torch.tensor([[-1e9, 1.0, 2.0, torch.finfo().min, -torch.inf, 0.5]]).expand(len(x), -1)
    return x.mean((1, 2)) + torch.where(bias == 2.0, bias + 1e-3 * len(x), bias)


def integers_off_by_one(x: Tensor) -> Tensor:
    index = torch.tensor([[70000, 70000 + len(x) // 4]]).expand(len(x), -1)
    return x.flatten(1)[:, :2] * index


def table_of_each_image(x: Tensor) -> Tensor:
    table = torch.linspace(0, 1, 36 * len(x)).reshape(len(x), 2, 3, 6)
    return F.grid_sample(table, x[:, :2].permute(0, 2, 3, 1).tanh(), align_corners=True).flatten(1)


def scaled_by_the_batch(x: Tensor) -> Tensor:
    return x.flatten(1) * len(x)


def all_but_the_last(x: Tensor) -> Tensor:
    return x.flatten(1) - x[: len(x) - 1].flatten(1).mean(0)


def an_image_in_the_middle(x: Tensor) -> Tensor:
    return x.flatten(1) + x[len(x) - 2 :].flatten(1).sum(0)


def another_order_for_another_batch(x: Tensor) -> Tensor:
    first, second = x.flatten(1).exp(), x.flatten(1).sin()
    return first - second if len(x) == 2 else second - first


def more_of_the_same_for_a_larger_batch(x: Tensor) -> Tensor:
    return torch.cat([x] * len(x), dim=1).mean((1, 2))


def more_layers_for_a_larger_batch(x: Tensor) -> Tensor:
    for _ in range(len(x)):
        x = x.sin()
    return x.flatten(1)


def softmax_over_another_axis(x: Tensor) -> Tensor:
    return x.softmax(len(x) - 1).flatten(1)


def mask_that_counts_images(x: Tensor) -> Tensor:
    return x.flatten(1) + torch.arange(len(x))[:, None]


def condition_for_each_image(x: Tensor) -> Tensor:
    return torch.where(torch.eye(len(x)).sum(0).cumsum(0)[:, None] > 1, x.flatten(1), -x.flatten(1))


def last_features(x: Tensor) -> Tensor:
    return x.flatten(1)[:, -len(x) :].sum(1, keepdim=True)


def first_features(x: Tensor) -> Tensor:
    return x.flatten(1)[:, : len(x)].sum(1, keepdim=True)


def shifted_by_the_batch(x: Tensor) -> Tensor:
    return x.flatten(1).roll(len(x), 1)


def pooled_by_the_batch(x: Tensor) -> Tensor:
    return F.avg_pool2d(x.tile(1, 1, 6, 4), len(x)).mean((2, 3))


def as_many_features_as_images(x: Tensor) -> Tensor:
    return x.flatten(1).topk(len(x), dim=1).values.sum(1, keepdim=True)


def half_of_the_batch(x: Tensor) -> Tensor:
    return x.flatten(1) - x[: len(x) // 2].flatten(1).mean(0)


def repeated_by_the_batch(x: Tensor) -> Tensor:
    return x.flatten(1).repeat(1, len(x)).cumsum(1)[:, :1]


REFUSED: dict[Function, str] = {
    all_but_the_last: "end of slice is 1, then 10",
    an_image_in_the_middle: "start of slice is 0, then 9",
    another_order_for_another_batch: "self of sub is exp, then sin",
    condition_for_each_image: "differs, ",
    first_features: "end of slice is 2, then 11",
    half_of_the_batch: "end of slice is 1, then 5",
    as_many_features_as_images: "k of topk is 2, then 11",
    last_features: "start of slice is -2, then -11",
    mask_that_counts_images: "differs, ",
    more_layers_for_a_larger_batch: "the operator is flatten, then sin",
    more_of_the_same_for_a_larger_batch: "tensors of cat",
    integers_off_by_one: "differs, ",
    different_beside_a_mask: "differs, ",
    different_by_more_than_rounding: "differs, ",
    table_of_each_image: "differs, ",
    pooled_by_the_batch: r"kernel_size of avg_pool2d is \[2, 2\], then \[11, 11\]",
    repeated_by_the_batch: "repeats of repeat",
    scaled_by_the_batch: "other of mul is 2, then 11",
    shifted_by_the_batch: "shifts of roll",
    softmax_over_another_axis: "dim of softmax is 1, then 10",
}


@pytest.mark.parametrize("what", REFUSED, ids=lambda what: what.__name__)
def test_a_network_that_depends_on_the_batch_size_is_refused_with_the_module(what: Function) -> None:
    network = nn.Sequential(nn.Identity(), Apply(what)).eval()
    network(images(2))  # torch runs it
    with pytest.raises(ExportError, match=rf"^the network is batch-specialised.* 1.*{REFUSED[what]}.*--batch N:N$"):
        baked_graph(network, SIZE)


@pytest.mark.parametrize("what", REFUSED, ids=lambda what: what.__name__)
def test_the_same_is_exported_for_a_single_batch(what: Function) -> None:
    network = nn.Sequential(nn.Identity(), Apply(what)).eval()
    model = build_graph(network, torch.zeros(2, 3, *SIZE), Batch(min=2, max=2), OPSET).model
    with torch.no_grad():
        torch.testing.assert_close(
            run_graph(open_graph(model), images(2)), network(images(2)), rtol=TOLERANCE, atol=TOLERANCE
        )


@pytest.mark.parametrize("block", [ConstantOfExampleBatch(), LookupByBatch()], ids=lambda block: type(block).__name__)
def test_a_network_that_accepts_no_other_batch_is_refused_with_the_module(block: nn.Module) -> None:
    network = nn.Sequential(nn.Identity(), block).eval()
    named = rf"^the network is batch-specialised: .* only the first .* in 1 \({type(block).__name__}\)"
    with pytest.raises(ExportError, match=named):
        baked_graph(network, SIZE)


def test_control_flow_is_refused_with_the_module() -> None:
    def branch(x: Tensor) -> Tensor:
        flat = x.flatten(1)
        chosen: Tensor = torch.cond(flat.sum() > 0, torch.sin, torch.cos, (flat,))
        return chosen

    named = r"^the network is batch-specialised in module 1: .* If contains a subgraph .*--batch N:N$"
    with pytest.raises(ExportError, match=named):
        baked_graph(nn.Sequential(nn.Identity(), Apply(branch)).eval(), SIZE)
