"""Networks that use the batch size in their code: one graph for any batch.

The reference is torch, on batches that the network was not traced with.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.tracing.pixels import Normalisation
from tests.export.graphs import baked_graph, built_graph, open_graph, run_graph
from tests.export.passes.dynamic_batch.block import (
    BATCHES,
    OFFSETS,
    SIZE,
    TABLE,
    TOKENS,
    TOLERANCE,
    WINDOWS,
    Network,
    images,
)
from tests.export.tracing.program.programs import Apply, Function

pytestmark = pytest.mark.slow


def length_in_view(x: Tensor) -> Tensor:
    return x.view(len(x), 3 * TOKENS)


def integer_in_reshape(x: Tensor) -> Tensor:
    images = int(x.shape[0])
    return x.reshape(images * 3, TOKENS).softmax(-1).reshape(images, -1)


def batch_times_heads(x: Tensor) -> Tensor:
    images, heads = x.shape[:2]
    tokens = x.reshape(images * heads, TOKENS, 1)
    scores = torch.bmm(tokens, tokens.transpose(1, 2)).softmax(-1)
    return torch.bmm(scores, tokens).reshape(images, heads * TOKENS)


def class_token(x: Tensor) -> Tensor:
    token = TABLE[:1].expand(len(x), 1, 3)
    return torch.cat([token, x.flatten(2).transpose(1, 2)], dim=1).flatten(1) + TABLE.flatten()


def tokens_before_and_after(x: Tensor) -> Tensor:
    first, last = (TABLE[part].expand(len(x), -1, -1) for part in (slice(2), slice(2, 5)))
    return torch.cat([first, x.flatten(2).transpose(1, 2), last], dim=1).flatten(1)


def no_register_tokens(x: Tensor) -> Tensor:
    return torch.cat([torch.zeros(len(x), 0, TOKENS), x.flatten(2)], dim=1).flatten(1)


def sizes_that_are_multiples_of_primes(x: Tensor) -> Tensor:
    rows = x.flatten(1)[:, :66].reshape(len(x), 3, 22).softmax(-1).flatten(1)
    return rows[:, :65].reshape(len(x), 5, 13).cumsum(-1).flatten(1)


def mask_repeated_for_the_batch(x: Tensor) -> Tensor:
    windows = x.mean(1).reshape(len(x) * 4, 6)
    scores = windows[:, :, None] * windows[:, None, :]
    return (scores + WINDOWS.repeat(len(x), 1, 1)).softmax(-1).reshape(len(x), -1)


def keys_repeated_for_the_batch(x: Tensor) -> Tensor:
    windows = x.mean(1).reshape(len(x) * 4, 6, 1).expand(-1, 6, 6)
    return torch.bmm(WINDOWS.repeat(len(x), 1, 1), windows).reshape(len(x), -1)


def table_repeated_for_the_batch(x: Tensor) -> Tensor:
    return (x.flatten(2) - TABLE[:TOKENS].t().repeat(len(x), 1, 1)).flatten(1)


def sliced_to_the_batch(x: Tensor) -> Tensor:
    return x[: x.shape[0], :, 1:3].flatten(1)


def resampled(x: Tensor) -> Tensor:
    return F.interpolate(x, size=(5, 3), mode="bilinear", align_corners=False).flatten(1)


def resampled_by_a_factor(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest").flatten(1)


def expanded_over_tokens(x: Tensor) -> Tensor:
    return torch.cat([x.mean((2, 3))[:, None].expand(len(x), TOKENS, 3), x.flatten(2).transpose(1, 2)], 1).flatten(1)


def batch_in_the_middle(x: Tensor) -> Tensor:
    return x.transpose(0, 1).reshape(3, x.shape[0], TOKENS).softmax(-1).transpose(0, 1).reshape(x.shape[0], -1)


def offsets_looked_up(x: Tensor) -> Tensor:
    scores = (x.flatten(2) * TABLE[:TOKENS, 0]) @ x.flatten(2).transpose(1, 2)
    return scores.gather(2, OFFSETS.expand(len(x), -1, -1)).flatten(1)


def offsets_looked_up_by_heads(x: Tensor) -> Tensor:
    scores = x.flatten(2)[..., None] * TABLE[0]  # [B, heads, 24, 3]
    return scores.gather(3, OFFSETS.repeat(len(x), 3, 8, 1)).mean(-1).flatten(1)


def gathered_along_tokens(x: Tensor) -> Tensor:
    return torch.take_along_dim(x.flatten(2), OFFSETS[None, :, :2] + 4, 2).flatten(1)


def table_ordered_by_the_image(x: Tensor) -> Tensor:
    table = TABLE[None, :TOKENS].expand(len(x), -1, -1)
    return table.gather(1, x.flatten(2).argsort(2).transpose(1, 2)).flatten(1)


def scattered_into_zeros(x: Tensor) -> Tensor:
    places = torch.arange(TOKENS - 1, -1, -1).expand(len(x), 3, -1)
    return torch.zeros_like(x.flatten(2)).scatter(2, places, x.flatten(2)).flatten(1)


def summed_by_index(x: Tensor) -> Tensor:
    return torch.zeros(len(x), 3, 5).index_add(2, torch.arange(TOKENS) % 5, x.flatten(2)).flatten(1)


def constants_scattered_by_the_image(x: Tensor) -> Tensor:
    tokens = x.flatten(2)
    return (tokens + tokens.scatter(2, tokens.abs().argmax(2, keepdim=True), 3.0)).flatten(1)


def table_sampled(x: Tensor) -> Tensor:
    table = TABLE[:12].reshape(1, 2, 3, 6).expand(len(x), -1, -1, -1)
    return F.grid_sample(table, x[:, :2].permute(0, 2, 3, 1).tanh(), align_corners=True).flatten(1)


def image_sampled(x: Tensor) -> Tensor:
    where = TABLE[:24, :2].tanh().reshape(1, 4, 6, 2).expand(len(x), -1, -1, -1)
    return F.grid_sample(x, where, align_corners=False).flatten(1)


def halves_assigned(x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    y[:, :, 2:], y[:, 0, :2], y[:, 1:, :2] = x[:, :, :2], TABLE[0, 0], x[:, 1:, 2:] * 2
    return y.flatten(1)


def joined_integers(x: Tensor) -> Tensor:
    index = torch.cat([torch.zeros(len(x), 1, dtype=torch.int64), x.flatten(2).argmax(2)], 1)
    return F.embedding(index, TABLE).flatten(1)


def joined_masks(x: Tensor) -> Tensor:
    mask = torch.cat([torch.ones(len(x), 1, dtype=torch.bool), x.flatten(1) > 0], 1)
    return torch.where(mask[:, :72], x.flatten(1), TABLE.flatten()[:72])


def stacked_with_a_table(x: Tensor) -> Tensor:
    table = TABLE[:TOKENS].t().expand(len(x), -1, -1)
    return torch.stack([x.flatten(2), table], 2).softmax(2)[:, :, 0].flatten(1)


def joined_on_the_axis_before_the_batch(x: Tensor) -> Tensor:
    tokens = x.flatten(2).permute(2, 0, 1)  # [N, B, C], as nn.MultiheadAttention takes them
    table = TABLE[:1].unsqueeze(1).expand(-1, len(x), -1)
    return torch.cat([table, tokens], 0).cumsum(0).permute(1, 0, 2).flatten(1)


def rotated_by_complex_numbers(x: Tensor) -> Tensor:
    turns = torch.polar(TABLE[:12].abs(), TABLE[12:24]).expand(len(x), -1, -1)
    pairs = torch.view_as_complex(x.reshape(len(x), 12, 3, 2))
    return torch.view_as_real(pairs * turns).flatten(1)


def filtered_frequencies(x: Tensor) -> Tensor:
    weight = torch.polar(TABLE[:16, 0].reshape(4, 4), TABLE[:16, 1].reshape(4, 4))
    filtered: Tensor = torch.fft.irfft2(torch.fft.rfft2(x, norm="ortho") * weight, s=SIZE, norm="ortho")
    return filtered.flatten(1) / 4


def frequencies(x: Tensor) -> Tensor:
    found = torch.fft.fft2(x)
    return torch.cat([found.real, found.imag], 1).flatten(1) / 8


def queries_expanded_for_the_batch(x: Tensor) -> Tensor:
    q = F.layer_norm(WINDOWS[0, :2].expand(len(x), -1, -1), (6,)) @ WINDOWS[1]
    q = q + (q @ q.transpose(1, 2)).softmax(-1) @ q  # self-attention, as in a decoder's first layer
    keys = x.mean(1)
    return ((q @ keys.transpose(1, 2)).softmax(-1) @ keys).flatten(1)


def rounded_differently_for_another_batch(x: Tensor) -> Tensor:
    return x.flatten(1) * TABLE[0, 0].expand(len(x), 1).mul(1 + 3e-7 * len(x))


def tokens_indexed_by_image_number(x: Tensor) -> Tensor:
    tokens = x.flatten(2).transpose(1, 2) + TABLE[:TOKENS]
    return tokens[torch.arange(len(x))[:, None], tokens[..., 0].topk(5).indices].flatten(1)


def resized_after_a_transpose(x: Tensor) -> Tensor:
    return F.interpolate(x.permute(0, 3, 1, 2), size=(7, 2), mode="bilinear").permute(0, 2, 3, 1).flatten(1)


def unbound_queries_keys_and_values(x: Tensor) -> Tensor:
    qkv = x.reshape(len(x), 3, 4, 6).permute(1, 0, 2, 3)
    q, k, v = qkv.unbind(0)
    return F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None]).reshape(len(x), -1)


def together(*functions: Function) -> Function:
    """Return a function that concatenates the results of several, so that one export covers them all."""

    def what(x: Tensor) -> Tensor:
        return torch.cat([function(x) for function in functions], 1)

    what.__name__ = " ".join(function.__name__ for function in functions)
    return what


ACCEPTED: list[Function] = [
    together(offsets_looked_up, offsets_looked_up_by_heads, gathered_along_tokens, table_ordered_by_the_image),
    together(scattered_into_zeros, summed_by_index, constants_scattered_by_the_image, halves_assigned),
    together(table_sampled, image_sampled, resized_after_a_transpose, tokens_indexed_by_image_number),
    together(joined_integers, joined_masks, stacked_with_a_table, joined_on_the_axis_before_the_batch),
    together(rotated_by_complex_numbers, filtered_frequencies, frequencies),
    batch_in_the_middle,
    batch_times_heads,
    class_token,
    expanded_over_tokens,
    integer_in_reshape,
    keys_repeated_for_the_batch,
    length_in_view,
    mask_repeated_for_the_batch,
    no_register_tokens,
    unbound_queries_keys_and_values,
    queries_expanded_for_the_batch,
    resampled,
    resampled_by_a_factor,
    rounded_differently_for_another_batch,
    sizes_that_are_multiples_of_primes,
    sliced_to_the_batch,
    table_repeated_for_the_batch,
    tokens_before_and_after,
]


@pytest.mark.parametrize("what", ACCEPTED, ids=lambda what: what.__name__)
def test_one_graph_accepts_any_batch_without_shape_arithmetic(what: Function) -> None:
    network = Network(what).eval()
    graph = baked_graph(network, SIZE)
    session = open_graph(graph)
    for batch in BATCHES:
        with torch.no_grad():
            expected = network(images(batch))
        torch.testing.assert_close(run_graph(session, images(batch)), expected, rtol=TOLERANCE, atol=TOLERANCE)
        with pytest.raises(AssertionError):  # the comparison above is able to fail
            torch.testing.assert_close(
                run_graph(session, images(batch).flip(-1)), expected, rtol=TOLERANCE, atol=TOLERANCE
            )
    operators = [node.op_type for node in graph.graph]
    assert {"Shape", "Range", "ConstantOfShape", "GatherND"}.isdisjoint(operators)
    assert [str(value.shape) for value in (*graph.graph.inputs, *graph.graph.outputs)] == ["[batch,3,4,6]", "[batch,5]"]


@pytest.mark.parametrize(("what", "pads"), [(class_token, 1), (tokens_before_and_after, 1)])
def test_tokens_before_and_after_the_images_are_one_pad(what: Function, pads: int) -> None:
    operators = [node.op_type for node in baked_graph(Network(what).eval(), SIZE).graph]
    assert operators.count("Pad") == pads
    assert {"Concat", "Expand", "Tile"}.isdisjoint(operators)


def test_a_mask_repeated_for_the_batch_is_stored_once() -> None:
    graph = baked_graph(Network(mask_repeated_for_the_batch).eval(), SIZE).graph
    shapes = [tuple(value.shape or ()) for value in graph.initializers.values()]
    assert (1, 4, 6, 6) in shapes
    assert not any(shape[:1] in {(8,), (12,)} for shape in shapes)


@pytest.mark.parametrize("what", [joined_integers, scattered_into_zeros], ids=lambda what: what.__name__)
def test_constants_are_repeated_without_operators_on_uint8_pixels(what: Function) -> None:
    """TensorRT only casts uint8."""
    graph = built_graph(Network(what).eval(), SIZE, Normalisation((0.5,) * 3, (0.5,) * 3)).model.graph
    assert [use.node.op_type for use in graph.inputs[0].uses()] == ["Cast"]
    assert any(node.op_type == "Xor" for node in graph)


@pytest.mark.parametrize("last", [lambda x: x[: len(x)], lambda x: x.reshape(len(x), 5)], ids=["slice", "reshape"])
def test_the_last_layer_may_use_the_batch_size(last: Function) -> None:
    network = nn.Sequential(Network(length_in_view), Apply(last)).eval()
    session = open_graph(baked_graph(network, SIZE))
    for batch in BATCHES:
        with torch.no_grad():
            expected = network(images(batch))
        torch.testing.assert_close(run_graph(session, images(batch)), expected, rtol=TOLERANCE, atol=TOLERANCE)
