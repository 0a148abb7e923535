"""The inference form of attention, for a ViT and for windows.

Windows are folded into heads: queries, keys and values are [B, W·H, N, d], so that bias and shift mask of all windows
are one constant [1, W·H, N, N] whatever the batch. Shapes: B images, L = W·N tokens of an image in window order (a ViT
has one window), H heads, d head width, C = H·d.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.bake.fold import affine, norm_into_linear, scale_into_query, scale_outputs
from export.bake.report import Report, report_query_dependent, report_rotation, report_scores
from models.attention import Attention
from models.encodings import Encoding, Rotation


class InferenceAttention(nn.Module):
    """x + attention(norm(x)), or x + norm(attention(x)), with everything static folded.

    1/√d goes into the queries' weights, a norm that comes first into those of queries, keys and values, and `gamma`
    into those of the projection.

    Args:
        norm: the norm before the attention, or after it.
        attention: what to re-host.
        windows: W.
        num_tokens: N.
        mask: [W, N, N] or None.
        post_norm: whether the norm comes after.
        gamma: [C], by which what is added to x is multiplied, or None; not together with a norm that comes after.
        name: the attention's name in the network, for the report.
        report: gets a line for what became static and one for what stays.
    """

    bias: Tensor | None
    cos: Tensor | None
    sin: Tensor | None
    logit_scale: Tensor | None

    def __init__(
        self,
        norm: nn.LayerNorm,
        attention: Attention,
        windows: int,
        num_tokens: int,
        mask: Tensor | None,
        *,
        post_norm: bool,
        name: str,
        report: Report,
        gamma: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.windows, self.heads, self.head_dim = windows, attention.num_heads, attention.head_dim
        self.num_tokens, self.eps = num_tokens, norm.eps
        self.post_norm = norm if post_norm else None
        qkv = affine(attention.qkv) if post_norm else norm_into_linear(norm, attention.qkv)
        self.qkv = qkv if attention.cosine else scale_into_query(qkv, attention.scale)
        self.proj = scale_outputs(affine(attention.proj), gamma)
        scale = attention.logit_scale_limited()
        self.register_buffer("logit_scale", None if scale is None else _for_windows(scale.detach(), windows))
        encoding, module = attention.encoding, f"{name}.encoding"
        bias = encoding.bias()
        scores = _static_scores(bias, mask, windows, self.heads)
        self.register_buffer("bias", scores)
        if scores is not None:
            report.append(report_scores(module, scores, windows, has_bias=bias is not None, has_mask=mask is not None))
        rotation = encoding.rotation()
        if rotation is not None:
            rotation = Rotation(*(_for_windows(part.detach(), windows) for part in rotation))
            report.append(report_rotation(module, rotation))
        self.register_buffer("cos", None if rotation is None else rotation.cos)
        self.register_buffer("sin", None if rotation is None else rotation.sin)
        left = _query_dependent_parts(encoding, self.heads, num_tokens, self.head_dim)
        self.encoding = encoding if left else None
        if left:
            report.append(report_query_dependent(module, encoding, left))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, L, C] to [B, L, C]."""
        length, width = x.shape[1:]
        h = x if self.post_norm is not None else F.layer_norm(x, (width,), eps=self.eps)
        q, k, v = (self._split(part) for part in self.qkv(h).split(width, dim=-1))
        if self.logit_scale is not None:
            q, k = _unit_length(q) * self.logit_scale, _unit_length(k)
        if self.cos is not None and self.sin is not None:
            rotation = Rotation(self.cos, self.sin)
            q, k = rotation.turn(q), rotation.turn(k)
        scores = q @ k.transpose(-2, -1)
        if self.bias is not None:
            scores = scores + self.bias
        if self.encoding is not None:
            dependent = self.encoding.scores(self._one_window(q), self._one_window(k))
            if dependent is not None:
                scores = scores + self._all_windows(dependent)
        attention = torch.softmax(scores, dim=-1)
        out = attention @ v  # [B, W·H, N, d]
        if self.encoding is not None:
            dependent = self.encoding.values(self._one_window(attention))
            if dependent is not None:
                out = out + self._all_windows(dependent)
        out = self.proj(self._join(out).reshape(-1, length, width))
        mixed: Tensor = x + (out if self.post_norm is None else self.post_norm(out))
        return mixed

    def _split(self, x: Tensor) -> Tensor:
        """Map [B, L, C] to [B, W·H, N, d]."""
        if self.windows == 1:
            return x.reshape(-1, self.num_tokens, self.heads, self.head_dim).transpose(1, 2)
        x = x.reshape(-1, self.windows, self.num_tokens, self.heads, self.head_dim).permute(0, 1, 3, 2, 4)
        return x.reshape(-1, self.windows * self.heads, self.num_tokens, self.head_dim)

    def _join(self, x: Tensor) -> Tensor:
        """Map [B, W·H, N, d] to what holds the same numbers as [B, L, C]."""
        if self.windows == 1:
            return x.transpose(1, 2)
        return x.reshape(-1, self.windows, self.heads, self.num_tokens, self.head_dim).permute(0, 1, 3, 2, 4)

    def _one_window(self, x: Tensor) -> Tensor:
        """Map [B, W·H, N, …] to [B·W, H, N, …], the shape that encodings know."""
        return x if self.windows == 1 else x.reshape(-1, self.heads, *x.shape[2:])

    def _all_windows(self, x: Tensor) -> Tensor:
        """Map [B·W, H, N, …] to [B, W·H, N, …]."""
        return x if self.windows == 1 else x.reshape(-1, self.windows * self.heads, *x.shape[2:])


def _unit_length(x: Tensor) -> Tensor:
    """Return what `F.normalize` does, whose graph would expand the lengths to the shape of x, batch and all."""
    lengths: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / lengths.clamp_min(1e-12)


def _static_scores(bias: Tensor | None, mask: Tensor | None, windows: int, heads: int) -> Tensor | None:
    """Return bias [H, N, N] and mask [W, N, N] in one, [1, 1 or W·H, N, N], or None if there is neither."""
    parts = (None if bias is None else bias[None], None if mask is None else mask[:, None])
    there = [part.detach() for part in parts if part is not None]
    if not there:
        return None
    total = sum(there[1:], start=there[0])  # [1 or W, 1 or H, N, N]
    if windows == 1 and bool((total == total[:, :1]).all()):  # one table for all heads
        return total[:, :1].contiguous()
    return total.expand(windows, heads, -1, -1).flatten(0, 1)[None].contiguous()


def _for_windows(per_head: Tensor, windows: int) -> Tensor:
    """Return [1 or W·H, …] from [1 or H, …]: what one number serves for all heads, it serves for all windows."""
    return per_head if len(per_head) == 1 else per_head.repeat(windows, *[1] * (per_head.ndim - 1))


def _query_dependent_parts(encoding: Encoding, heads: int, num_tokens: int, head_dim: int) -> list[str]:
    """Ask an encoding, with zeros, what it computes from the image: `scores`, `values`, both or neither."""
    q = torch.zeros(1, heads, num_tokens, head_dim, dtype=torch.float64)
    attention = torch.zeros(1, heads, num_tokens, num_tokens, dtype=torch.float64)
    found = {"scores": encoding.scores(q, q), "values": encoding.values(attention)}
    return [part for part, term in found.items() if term is not None]
