"""Operators that tracing rewrites: pools, chunks, indexing by image number, affine grids."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from export.tracing.program.nodes import count_operators
from tests.export.tracing.program.programs import Function, assert_same, operators

IMAGE = torch.randn(2, 3, 12, 8, generator=torch.Generator().manual_seed(0))
TOKENS = torch.randn(2, 12, 8, generator=torch.Generator().manual_seed(1))

POOLS: dict[str, Function] = {
    "windows that overlap": lambda x: F.adaptive_max_pool2d(x, (5, 7)),
    "windows that divide the image": lambda x: F.adaptive_max_pool2d(x, (4, 2)),
    "one global axis": lambda x: F.adaptive_max_pool2d(x, (1, 5)),
    "as large as the image": lambda x: F.adaptive_max_pool2d(x, (12, 8)),
    "more than the image": lambda x: F.adaptive_max_pool2d(x, (12, 11)),
    "tokens": lambda x: F.adaptive_max_pool1d(x.flatten(2), 7),
    "a volume": lambda x: F.adaptive_max_pool3d(x, (2, 5, 3)),
}


@pytest.mark.parametrize("case", POOLS)
def test_an_adaptive_max_pool_becomes_a_maximum_over_constant_windows(case: str) -> None:
    assert not {name for name in operators(assert_same(POOLS[case], IMAGE)) if "pool" in name}


def test_keep_a_pool_whose_indices_are_read() -> None:
    def what(x: Tensor) -> Tensor:
        values, places = F.adaptive_max_pool2d(x, 2, return_indices=True)
        return values + places

    assert count_operators(assert_same(what, IMAGE))["adaptive_max_pool2d"] == 1


DIVISORS: dict[str, Function] = {
    "windows that overlap": lambda x: F.avg_pool2d(x, 3, 2, divisor_override=5),
    "padding": lambda x: F.avg_pool2d(x, (3, 5), (2, 3), (1, 2), divisor_override=5),
    "incomplete windows": lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, divisor_override=4),
    "padding not counted": lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False, divisor_override=1),
    "a volume": lambda x: F.avg_pool3d(x[:, None], 2, divisor_override=3),
    "a default stride": lambda x: torch.ops.aten.avg_pool2d(x, [3], divisor_override=2),
}


@pytest.mark.parametrize("case", DIVISORS)
def test_a_mean_with_another_divisor_becomes_a_mean_and_a_factor(case: str) -> None:
    program = assert_same(DIVISORS[case], IMAGE)
    (pool,) = (node for node in program.graph.nodes if "avg_pool" in str(node.target))
    assert len(pool.args) == 3
    assert "mul" in operators(program)


@pytest.mark.parametrize(("chunks", "parts"), [(3, 3), (5, 4), (8, 6), (12, 12), (100, 12)])
def test_a_chunk_becomes_a_split_into_the_parts_that_torch_returns(chunks: int, parts: int) -> None:
    program = assert_same(lambda x: torch.cat(x.chunk(chunks, 2)[::-1], 2), IMAGE)
    (split,) = (node for node in program.graph.nodes if node.target is torch.ops.aten.split.Tensor)
    assert len(split.meta["val"]) == parts
    assert "chunk" not in operators(program)


WITHOUT_EFFECT: dict[str, Function] = {
    "maximum": lambda x: F.max_pool2d(x, 2, 3, 1, ceil_mode=True),
    "maximum with dilation": lambda x: F.max_pool2d(x, 2, (6, 4), 1, (2, 1), ceil_mode=True),
    "mean": lambda x: F.avg_pool2d(x, 2, 3, 1, ceil_mode=True),
    "mean without padding": lambda x: F.avg_pool2d(x, 2, 3, 1, ceil_mode=True, count_include_pad=False),
    "maximum of a sequence": lambda x: F.max_pool1d(x.flatten(2)[..., :8], 2, 3, 1, ceil_mode=True),
}


@pytest.mark.parametrize("case", WITHOUT_EFFECT)
def test_a_ceil_mode_that_adds_no_window_is_removed(case: str) -> None:
    program = assert_same(WITHOUT_EFFECT[case], IMAGE[..., :8, :8])
    assert not any(True in node.args[5:6] for node in program.graph.nodes if "max_pool" in str(node.target))
    assert not any(True in node.args[4:5] for node in program.graph.nodes if "avg_pool" in str(node.target))


def test_keep_a_ceil_mode_that_adds_windows() -> None:
    program = assert_same(lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True), IMAGE)
    assert any(node.args[5:] == (True,) for node in program.graph.nodes if "max_pool" in str(node.target))


SEQUENCES: dict[str, Function] = {
    "mean": lambda x: F.avg_pool1d(x.flatten(2), 4, 3, 2, ceil_mode=True),
    "mean without padding": lambda x: F.avg_pool1d(x.flatten(2), 4, padding=1, count_include_pad=False),
    "maximum": lambda x: F.max_pool1d(x.flatten(2), 3, 2, 1, 2),
}


@pytest.mark.parametrize("case", SEQUENCES)
def test_a_pool_of_a_sequence_becomes_a_pool_of_an_image(case: str) -> None:
    assert {"avg_pool2d", "max_pool2d"} & operators(assert_same(SEQUENCES[case], IMAGE))


def numbers(x: Tensor) -> Tensor:
    return torch.arange(len(x))


INDEXED: dict[str, Function] = {
    "a token of each image": lambda x: x[numbers(x), x[..., 0].argmax(-1)],
    "tokens of each image": lambda x: x[numbers(x)[:, None], x.norm(dim=-1).topk(5).indices],
    "rows of tokens": lambda x: x[numbers(x).view(-1, 1, 1), x[..., :3].argsort(1)[:, :4]],
    "a number of each token": lambda x: x[..., 0][numbers(x)[:, None], x[..., 1].argsort(-1)],
    "the same token": lambda x: x[numbers(x), torch.tensor([2])],
    "the same tokens, from the end": lambda x: x[numbers(x).unsqueeze(1), torch.tensor([[0, -1, -12]])],
    "rows of the same tokens": lambda x: x[numbers(x)[:, None, None], torch.tensor([[3, 1], [0, 5]])],
}


@pytest.mark.parametrize("case", INDEXED)
def test_indexing_by_image_number_becomes_a_gather(case: str) -> None:
    found = operators(assert_same(INDEXED[case], TOKENS))
    assert "index" not in found


KEPT: dict[str, Function] = {
    "another order of images": lambda x: x[torch.arange(len(x)).flip(0)[:, None], x[..., 0].argsort(-1)],
    "every image with every other": lambda x: x[torch.arange(len(x)), torch.tensor([[2], [3], [4]])],
    "some images": lambda x: x[torch.arange(1)[:, None], x[:1, :, 0].argsort(-1)],
}


@pytest.mark.parametrize("case", KEPT)
def test_keep_an_index_of_other_images(case: str) -> None:
    assert "index" in operators(assert_same(KEPT[case], TOKENS))


@pytest.mark.parametrize("align", [False, True])
def test_an_affine_grid_becomes_a_constant_grid_transformed_by_each_image(align: bool) -> None:
    def what(x: Tensor) -> Tensor:
        moved = torch.tensor([[[0.8, 0.1, 0.0], [0.2, 0.7, 0.1]]]) + x.mean((1, 2, 3))[:, None, None]
        return F.grid_sample(x, F.affine_grid(moved, list(x.shape), align), align_corners=align)

    assert "affine_grid_generator" not in operators(assert_same(what, IMAGE))


def test_scattered_values_are_sliced_to_the_size_of_the_index() -> None:
    def what(x: Tensor) -> Tensor:
        return torch.zeros_like(x).scatter(1, x[..., :3].argsort(1)[:, :5], x * 2)

    counted = count_operators(assert_same(what, TOKENS))
    assert counted["slice"] == 4  # features and rows of the index, rows and features of the scattered values
