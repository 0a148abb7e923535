"""The protocol of a position encoding: where it may act, and what of it does not depend on the image.

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
        grid: (rows, columns) of tokens that see each other: the whole image in a ViT, a window in Swin.
        extra_tokens: tokens without a place on the grid (CLS, registers), which come first.
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
        """N, the extra tokens included."""
        return self.extra_tokens + self.grid[0] * self.grid[1]

    @property
    def head_dim(self) -> int:
        """d, the width of one head."""
        return self.width // self.num_heads


class Rotation(NamedTuple):
    """Angles of a rotary encoding, by which the pairs (i, i + d/2) of a query's or key's numbers are turned.

    Both are [1 or H, N, d], the two halves alike.
    """

    cos: Tensor
    sin: Tensor

    def turn(self, x: Tensor) -> Tensor:
        """Return x [B, H, N, d], each pair (a, b) turned to (a·cos − b·sin, b·cos + a·sin)."""
        a, b = x.chunk(2, dim=-1)
        return x * self.cos + torch.cat([-b, a], dim=-1) * self.sin


class Encoding(nn.Module):
    """Position encoding. A subclass takes a `Place` and its options, and overrides what it needs.

    One that acts on `tokens` is made once, before the first block; one that acts on `attention` is made in every block.
    The first three methods do not depend on the image, so export freezes what they return; the last two do.
    """

    acts_on: ClassVar[ActsOn]

    def embedding(self) -> Tensor | None:
        """Return [N, C], added to the tokens once."""
        return None

    def rotation(self) -> Rotation | None:
        """Return the angles by which queries and keys are turned before they meet."""
        return None

    def bias(self) -> Tensor | None:
        """Return [H, N, N], added to the scores."""
        return None

    def scores(self, q: Tensor, k: Tensor) -> Tensor | None:  # noqa: ARG002 -- for those that override it
        """Return [B, H, N, N], added to the scores; it depends on the image through q or k.

        Args:
            q: [B, H, N, d], scaled by 1/√d.
            k: [B, H, N, d].
        """
        return None

    def values(self, attention: Tensor) -> Tensor | None:  # noqa: ARG002 -- for those that override it
        """Return [B, H, N, d], added to what the attention gathers.

        Args:
            attention: [B, H, N, N], softmax of the scores: the weight of token j in what token i gets.
        """
        return None
