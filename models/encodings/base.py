"""Base class of position encodings: the methods that act on tokens and attention, static or query-dependent.

Shapes: B images (or windows), H heads, N tokens, C width, d = C / H head width.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

ActsOn = Literal["nothing", "tokens", "attention"]


@dataclass(frozen=True)
class Place:
    """Grid, extra tokens, width and heads that an encoding is built for.

    Attributes:
        grid: (rows, columns) of tokens that attend to each other: the whole image in a ViT, a window in Swin.
        extra_tokens: tokens without a position on the grid (CLS, registers); they come first.
        width: C.
        num_heads: H.
    """

    grid: tuple[int, int]
    extra_tokens: int
    width: int
    num_heads: int

    def __post_init__(self) -> None:
        if min(self.grid) < 1:
            raise ValueError(f"a grid needs at least one row and one column of tokens, got {self.grid}")

    @property
    def num_tokens(self) -> int:
        """N, including the extra tokens."""
        return self.extra_tokens + self.grid[0] * self.grid[1]

    @property
    def head_dim(self) -> int:
        """d, the width of one head."""
        return self.width // self.num_heads


class Rotation(NamedTuple):
    """Cosines and sines of a rotary encoding, which rotates the pairs (i, i + d/2) of each query and key.

    Both are [1 or H, N, d], with two equal halves.
    """

    cos: Tensor
    sin: Tensor

    def turn(self, x: Tensor) -> Tensor:
        """Return x [B, H, N, d], with each pair (a, b) rotated to (a·cos − b·sin, b·cos + a·sin)."""
        a, b = x.chunk(2, dim=-1)
        return x * self.cos + torch.cat([-b, a], dim=-1) * self.sin


class Encoding(nn.Module):
    """Position encoding. A subclass takes a `Place` and its options, and overrides the methods it needs.

    An encoding that acts on `tokens` is built once, before the first block; one that acts on `attention` is built in
    every block. The first three methods do not depend on the image, so export stores their results as constants; the
    last two do.
    """

    acts_on: ClassVar[ActsOn]

    def embedding(self) -> Tensor | None:
        """Return [N, C], added to the tokens once."""
        return None

    def rotation(self) -> Rotation | None:
        """Return the rotation that is applied to queries and keys before their product."""
        return None

    def bias(self) -> Tensor | None:
        """Return [H, N, N], added to the scores."""
        return None

    def scores(self, q: Tensor, k: Tensor) -> Tensor | None:  # noqa: ARG002 -- for subclasses
        """Return [B, H, N, N], added to the scores; the result depends on the image through q or k.

        Args:
            q: [B, H, N, d], scaled by 1/√d.
            k: [B, H, N, d].
        """
        return None

    def values(self, attention: Tensor) -> Tensor | None:  # noqa: ARG002 -- for subclasses
        """Return [B, H, N, d], added to the output of the attention.

        Args:
            attention: [B, H, N, N], softmax of the scores: the weight of token j in the output for token i.
        """
        return None
