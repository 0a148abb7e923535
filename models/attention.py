"""Multi-head self-attention with a position encoding.

    softmax(q·kᵀ/√d + bias + scores(q, k) + mask)·v

Shapes: B images (or windows), N tokens, C width, H heads, d = C / H.
"""

import torch
from torch import Tensor, nn

from models.encodings import Encoding


class Attention(nn.Module):
    """Self-attention over N tokens (Vaswani et al. 2017), its scores shaped by `encoding`.

    Raises:
        ValueError: the heads do not divide the width.
    """

    def __init__(self, width: int, num_heads: int, encoding: Encoding) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(f"{num_heads} heads do not divide the width {width}; choose a divisor")
        self.num_heads = num_heads
        self.head_dim = width // num_heads
        self.scale = self.head_dim**-0.5
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.encoding = encoding

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map [B, N, C] to [B, N, C].

        `mask` [W, N, N] is added to the scores, B being a multiple of W: the mask of window `b % W`.
        """
        batch, num_tokens, width = x.shape
        qkv = self.qkv(x).view(batch, num_tokens, 3, self.num_heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each [B, H, N, d]
        q = q * self.scale
        scores = q @ k.transpose(-2, -1)  # [B, H, N, N]
        for term in (self.encoding.bias(), self.encoding.scores(q, k)):
            if term is not None:
                scores = scores + term
        if mask is not None:
            by_window = scores.view(-1, len(mask), *scores.shape[1:])  # [B/W, W, H, N, N]
            scores = (by_window + mask[:, None]).view(scores.shape)
        out = torch.softmax(scores, dim=-1) @ v
        projected: Tensor = self.proj(out.transpose(1, 2).reshape(batch, num_tokens, width))
        return projected
