"""The protocol of a position encoding: where it may act, and what of it does not depend on the image.

Shapes: B images (or windows), H heads, N tokens, C width, d = C / H head width.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

ActsOn = Literal["nothing", "tokens", "scores"]


@dataclass(frozen=True)
class Place:
    """Where an encoding is used.

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


class Encoding(nn.Module):
    """How position enters a network. A subclass takes a `Place` and its options, and overrides what it needs.

    One that acts on `tokens` is made once, before the first block; one that acts on `scores` is made in every block.
    """

    acts_on: ClassVar[ActsOn]

    def embedding(self) -> Tensor | None:
        """Return [N, C], added to the tokens once. It does not depend on the image, so export may freeze it."""
        return None

    def bias(self) -> Tensor | None:
        """Return [H, N, N], added to the scores. It does not depend on the image, so export may freeze it."""
        return None

    def scores(self, q: Tensor, k: Tensor) -> Tensor | None:  # noqa: ARG002 -- for those that override it
        """Return [B, H, N, N], added to the scores; it depends on the image through q or k.

        Args:
            q: [B, H, N, d], scaled by 1/√d.
            k: [B, H, N, d].
        """
        return None
