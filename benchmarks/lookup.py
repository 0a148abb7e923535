"""`python -m benchmarks.lookup`: equivalent forms of iRPE's contextual terms in ONNX Runtime on the CPU.

One layer at the sizes of DeiT-S: 197 tokens, 6 heads of width 64, product mapping with 50 buckets. All forms of a term
are checked to give the same numbers; runs are interleaved.
"""

import argparse
import sys
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor, nn

from artifact import Batch
from benchmarks.bake import interleaved_medians, open_session
from examples.digits.train import machine
from export.passes.graph import build_graph
from models.encodings import Place
from models.encodings.irpe_buckets import irpe_buckets

PLACE = Place((14, 14), extra_tokens=1, width=384, num_heads=6)
BUCKETS = irpe_buckets("product", PLACE, "piecewise", (1.9, 3.8, 15.2))["product"]
INDEX, COUNT, TOKENS = BUCKETS.index, BUCKETS.count, PLACE.num_tokens
TOLERANCE = 1e-4  # relative to the largest value: sums of 197 terms differ in order


class Form(nn.Module):
    """A term as a function of its input and a table."""

    def __init__(self, compute: Callable[[Tensor, Tensor], Tensor], table: Tensor) -> None:
        super().__init__()
        self.compute = compute
        self.register_buffer("table", table)

    def forward(self, x: Tensor) -> Tensor:
        """Map queries [B, H, N, d] or attention [B, H, N, N] to the term."""
        assert isinstance(self.table, Tensor)
        return self.compute(x, self.table)


FLAT = (INDEX + torch.arange(TOKENS)[:, None] * COUNT).flatten()
MEMBER = nn.functional.one_hot(INDEX, COUNT).float()  # [N, N, R]


def flat_gather(q: Tensor, table: Tensor) -> Tensor:
    """Compute products over buckets, then one gather on the flattened products with a constant index."""
    products = (q @ table).flatten(2)
    return products.index_select(2, FLAT).view(-1, PLACE.num_heads, TOKENS, TOKENS)


def row_gather(q: Tensor, table: Tensor) -> Tensor:
    """Compute products over buckets with images and heads last, then one gather of rows with a constant index."""
    products = (q @ table).flatten(2).flatten(0, 1).T  # [N·R, B·H]
    return products.index_select(0, FLAT).T.reshape(-1, PLACE.num_heads, TOKENS, TOKENS)


def gather_elements(q: Tensor, table: Tensor) -> Tensor:
    """Compute products over buckets, then a gather along the last axis, its index expanded to batch and heads."""
    products = q @ table
    return products.gather(3, INDEX.expand(*products.shape[:2], TOKENS, TOKENS))


def one_hot_product(q: Tensor, table: Tensor) -> Tensor:
    """Compute products over buckets, then multiply by a constant one-hot matrix for each query."""
    products = (q @ table).permute(2, 0, 1, 3).reshape(TOKENS, -1, COUNT)
    scores = products @ MEMBER.transpose(1, 2)  # [N, B·H, N]
    return scores.view(TOKENS, -1, PLACE.num_heads, TOKENS).permute(1, 2, 0, 3)


def dense_table(q: Tensor, table: Tensor) -> Tensor:
    """Multiply by a constant vector for each pair, [N, d, N]: O(N²·d)."""
    pairs = table[0][:, INDEX].permute(1, 0, 2)  # [N, d, N]
    scores = q.permute(2, 0, 1, 3).reshape(TOKENS, -1, q.shape[-1]) @ pairs
    return scores.view(TOKENS, -1, PLACE.num_heads, TOKENS).permute(1, 2, 0, 3)


def bucket_sums(attention: Tensor, table: Tensor) -> Tensor:
    """Sum attention into buckets by a constant one-hot matrix, then multiply by the table."""
    by_query = attention.permute(2, 0, 1, 3).reshape(TOKENS, -1, TOKENS)
    sums = (by_query @ MEMBER).view(TOKENS, -1, PLACE.num_heads, COUNT)
    return sums.permute(1, 2, 0, 3) @ table


def scatter_sums(attention: Tensor, table: Tensor) -> Tensor:
    """Sum attention into buckets by a scatter, its index expanded to batch and heads, then multiply by the table."""
    batch, heads = attention.shape[:2]
    zeros = attention.new_zeros(batch, heads, TOKENS, COUNT)
    return zeros.scatter_add(3, INDEX.expand(batch, heads, TOKENS, TOKENS), attention) @ table


def dense_values(attention: Tensor, table: Tensor) -> Tensor:
    """Multiply by a constant vector for each pair, [N, N, d]: O(N²·d)."""
    pairs = table[0][INDEX]  # [N, N, d]
    values = attention.permute(2, 0, 1, 3).reshape(TOKENS, -1, TOKENS) @ pairs
    return values.view(TOKENS, -1, PLACE.num_heads, PLACE.head_dim).permute(1, 2, 0, 3)


TERMS = {
    "scores, on keys": (
        (flat_gather, row_gather, gather_elements, one_hot_product, dense_table),
        torch.randn(1, PLACE.head_dim, COUNT),
        (PLACE.num_heads, TOKENS, PLACE.head_dim),
    ),
    "values": (
        (bucket_sums, scatter_sums, dense_values),
        torch.randn(1, COUNT, PLACE.head_dim),
        (PLACE.num_heads, TOKENS, TOKENS),
    ),
}


def main() -> int:
    """Print a row for each form, relative to the one that posbake uses."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lookup", description=__doc__)
    parser.add_argument("--runs", type=int, default=50, help="runs per form and batch size; default: 50")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print(f"{datetime.now(UTC).date()}, {machine()}, ONNX Runtime {ort.__version__}, {options.threads} threads\n")
    print("| term | form | batch 1, ms | batch 8, ms | relative to the first, batch 1 | batch 8 |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for term, (forms, table, shape) in TERMS.items():
        example = torch.rand(2, *shape)
        modules = [Form(form, table).eval() for form in forms]
        expected = modules[0](example)
        for module in modules[1:]:
            torch.testing.assert_close(module(example), expected, rtol=0, atol=TOLERANCE * float(expected.abs().max()))
        graphs = [build_graph(module, example, Batch(min=1, max=32), 20).model for module in modules]
        sessions = [open_session(graph, options.threads) for graph in graphs]
        generator = np.random.default_rng(0)
        times = [
            interleaved_medians(sessions, generator.random((batch, *shape), np.float32), options.runs)
            for batch in (1, 8)
        ]
        for number, form in enumerate(forms):
            one, eight = (medians[number] for medians in times)
            ratios = f"{one / times[0][0]:.2f} | {eight / times[1][0]:.2f}"
            print(f"| {term} | `{form.__name__}` | {one:.2f} | {eight:.2f} | {ratios} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
