"""Multi-head self-attention with a position encoding.

    attention = softmax(q·kᵀ/√d + bias + scores(q, k) + mask)        out = attention·v + values(attention)

Shapes: B images (or windows), N tokens, C width, H heads, d = C / H.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.encodings import Encoding

LARGEST_LOGIT_SCALE = math.log(100.0)


class Attention(nn.Module):
    """Self-attention over N tokens (Vaswani et al. 2017), shaped by `encoding`.

    With `cosine`, queries and keys are normalised to length 1, and a learned scale per head, at most 100, replaces
    1/√d (Swin v2, Liu et al. 2022, eq. 2).

    Raises:
        ValueError: the number of heads does not divide the width.
    """

    def __init__(
        self, width: int, num_heads: int, encoding: Encoding, *, qkv_bias: bool = True, cosine: bool = False
    ) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(f"{num_heads} heads do not divide the width {width}; choose a divisor")
        self.num_heads = num_heads
        self.head_dim = width // num_heads
        self.scale = self.head_dim**-0.5
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)
        self.encoding = encoding
        self.cosine = cosine
        self.logit_scale = nn.Parameter(torch.full((num_heads, 1, 1), math.log(10.0))) if cosine else None

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map [B, N, C] to [B, N, C].

        `mask` [W, N, N] is added to the scores. B is a multiple of W; image b gets the mask of window `b % W`.
        """
        batch, num_tokens, width = x.shape
        qkv = self.qkv(x).view(batch, num_tokens, 3, self.num_heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each [B, H, N, d]
        logit_scale = self.logit_scale_limited()
        if logit_scale is not None:
            q, k = F.normalize(q, dim=-1) * logit_scale, F.normalize(k, dim=-1)
        else:
            q = q * self.scale
        rotation = self.encoding.rotation()
        if rotation is not None:
            q, k = rotation.turn(q), rotation.turn(k)
        scores = q @ k.transpose(-2, -1)  # [B, H, N, N]
        for term in (self.encoding.bias(), self.encoding.scores(q, k)):
            if term is not None:
                scores = scores + term
        if mask is not None:
            by_window = scores.view(-1, len(mask), *scores.shape[1:])  # [B/W, W, H, N, N]
            scores = (by_window + mask[:, None]).view(scores.shape)
        attention = torch.softmax(scores, dim=-1)
        out = attention @ v
        values = self.encoding.values(attention)
        if values is not None:
            out = out + values
        projected: Tensor = self.proj(out.transpose(1, 2).reshape(batch, num_tokens, width))
        return projected

    def logit_scale_limited(self) -> Tensor | None:
        """Return the scale of each head, [H, 1, 1], at most 100; None without cosine."""
        return None if self.logit_scale is None else self.logit_scale.clamp(max=LARGEST_LOGIT_SCALE).exp()
