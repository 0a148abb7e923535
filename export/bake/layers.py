"""What the inference forms are built from.

Shapes: B images, L = W·N tokens of an image in window order (a ViT has one window, W = 1), H heads, d head width,
C = H·d width. Shapes are written with −1 for the batch only, so that the graph needs no shape arithmetic.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from artifact import Baked
from export.bake.fold import affine, norm_into_linear, pixels_into_patches, scale_into_query
from models.attention import Attention
from models.blocks import MLP, PatchEmbed
from models.encodings import Encoding

Report = list[Baked]

FLOAT32_BYTES = 4
INT64_BYTES = 8


@dataclass(frozen=True)
class Normalisation:
    """(pixel / 255 − mean) / std, per channel."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class Patches(nn.Module):
    """Pixels to tokens in window order: one transposition and one matrix product.

    Args:
        embed: the patch embedding to re-host.
        window: (rows, columns) of tokens; the grid itself for raster order.
        pixels: if given, the input is uint8 [B, height, width, 3] and this is folded into the weights; else it is
            float32 [B, 3, height, width].
    """

    def __init__(self, embed: PatchEmbed, window: tuple[int, int], pixels: Normalisation | None) -> None:
        super().__init__()
        weight, bias = embed.proj.weight, embed.proj.bias
        assert bias is not None
        if pixels is not None:
            mean, std = (torch.tensor(values, dtype=weight.dtype) for values in (pixels.mean, pixels.std))
            weight, bias = pixels_into_patches(weight, bias, mean, std)
        self.takes_pixels = pixels is not None
        self.patch = weight.shape[-1]
        self.grid, self.window = embed.grid, window
        self.weight = nn.Parameter(weight.permute(2, 3, 1, 0).reshape(-1, weight.shape[0]).contiguous())  # [p·p·3, C]
        self.bias = nn.Parameter(bias.clone())

    def forward(self, image: Tensor) -> Tensor:
        """Map the image to [B, L, C], the bias left to the caller, who may merge it with other constants."""
        (rows, columns), (high, wide), side = self.grid, self.window, self.patch
        down, across = rows // high, columns // wide
        if self.takes_pixels:
            x = image.to(self.weight.dtype).reshape(-1, down, high, side, across, wide, side * 3)
            x = x.permute(0, 1, 4, 2, 5, 3, 6)
        else:
            x = image.reshape(-1, 3, down, high, side, across, wide, side)
            x = x.permute(0, 2, 5, 3, 6, 4, 7, 1)
        return x.reshape(-1, rows * columns, side * side * 3) @ self.weight


class InferenceAttention(nn.Module):
    """x + attention(norm(x)), with everything static folded: 1/√d, the norm's scale and shift, bias and mask.

    Windows are folded into heads, so a constant [1, W·H, N, N] holds bias and mask whatever the batch.

    Args:
        norm: the norm before the attention.
        attention: what to re-host.
        windows: W.
        mask: [W, N, N] or None.
        name: the attention's name in the network, for the report.
        report: gets a line for what became static and one for what stays.
    """

    bias: Tensor | None

    def __init__(
        self, norm: nn.LayerNorm, attention: Attention, windows: int, mask: Tensor | None, name: str, report: Report
    ) -> None:
        super().__init__()
        self.eps = norm.eps
        self.windows, self.heads, self.head_dim = windows, attention.num_heads, attention.head_dim
        self.qkv = scale_into_query(norm_into_linear(norm, attention.qkv), attention.scale)
        self.proj = affine(attention.proj)
        encoding = attention.encoding
        bias = _static_scores(encoding, mask, windows, self.heads)
        self.register_buffer("bias", bias)
        if bias is not None:
            what = " and ".join(
                part
                for part, there in (("bias", encoding.bias() is not None), ("shift mask", mask is not None))
                if there
            )
            report.append(
                _static(
                    f"{name}.encoding",
                    f"{what} of {windows} window{'s' if windows > 1 else ''}, added to the scores",
                    bias,
                )
            )
        self.encoding = encoding if _is_query_dependent(encoding) else None
        if self.encoding is not None:
            report.append(_query_dependent(f"{name}.encoding", self.encoding))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, L, C] to [B, L, C]."""
        length, width = x.shape[1:]
        tokens = length // self.windows
        split = (-1, self.windows, tokens, self.heads, self.head_dim)
        folded = self.windows * self.heads
        q, k, v = self.qkv(F.layer_norm(x, (width,), eps=self.eps)).split(width, dim=-1)
        q = q.reshape(split).permute(0, 1, 3, 2, 4).reshape(-1, folded, tokens, self.head_dim)
        k = k.reshape(split).permute(0, 1, 3, 4, 2).reshape(-1, folded, self.head_dim, tokens)
        v = v.reshape(split).permute(0, 1, 3, 2, 4).reshape(-1, folded, tokens, self.head_dim)
        scores = q @ k
        if self.bias is not None:
            scores = scores + self.bias
        if self.encoding is not None:
            scores = scores + self._query_dependent_scores(self.encoding, q, k.transpose(-2, -1))
        out = torch.softmax(scores, dim=-1) @ v  # [B, W·H, N, d]
        out = out.reshape(-1, self.windows, self.heads, tokens, self.head_dim).permute(0, 1, 3, 2, 4)
        mixed: Tensor = x + self.proj(out.reshape(-1, length, width))
        return mixed

    def _query_dependent_scores(self, encoding: Encoding, q: Tensor, k: Tensor) -> Tensor:
        """Ask an encoding for its scores in the shape it knows, one window after another in the batch."""
        one_window = (-1, self.heads, *q.shape[2:])
        scores = encoding.scores(q.reshape(one_window), k.reshape(one_window))
        assert scores is not None
        return scores.reshape(-1, self.windows * self.heads, *scores.shape[2:])


class InferenceMLP(nn.Module):
    """x + MLP(norm(x)), the norm's scale and shift folded into the first layer."""

    def __init__(self, norm: nn.LayerNorm, mlp: MLP) -> None:
        super().__init__()
        self.eps = norm.eps
        self.fc1 = norm_into_linear(norm, mlp.fc1)
        self.fc2 = affine(mlp.fc2)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, L, C] to [B, L, C]."""
        mixed: Tensor = x + self.fc2(F.gelu(self.fc1(F.layer_norm(x, x.shape[-1:], eps=self.eps))))
        return mixed


class InferenceHead(nn.Module):
    """Norm, pooling and classification. Scale and shift of the norm are folded into the last layer."""

    def __init__(self, norm: nn.LayerNorm, head: nn.Linear, *, first_token_only: bool) -> None:
        super().__init__()
        self.eps = norm.eps
        self.first_token_only = first_token_only
        self.classify = norm_into_linear(norm, head)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, L, C] to logits [B, classes]."""
        if self.first_token_only:
            x = x[:, 0]  # the others need no norm
        x = F.layer_norm(x, x.shape[-1:], eps=self.eps)
        logits: Tensor = self.classify(x if self.first_token_only else x.mean(dim=1))
        return logits


def report_embedding(name: str, embedding: Tensor) -> Baked:
    """Return the report's line for an embedding [L, C] that is added to the tokens."""
    return _static(name, "embedding, added to the tokens once", embedding)


def report_order(name: str, index: Tensor) -> Baked:
    """Return the report's line for a constant order [L] of tokens."""
    return Baked(
        module=name,
        kind="static",
        what="window partition, shift and reverse, as one constant order of tokens",
        shape=tuple(index.shape),
        bytes=_bytes(index),
    )


def _static_scores(encoding: Encoding, mask: Tensor | None, windows: int, heads: int) -> Tensor | None:
    """Return bias and mask in one, [1, W·H, N, N], or None if there is neither."""
    bias = encoding.bias()  # [H, N, N]
    if bias is None and mask is None:
        return None
    parts = [
        part
        for part in (None if bias is None else bias[None], None if mask is None else mask[:, None])
        if part is not None
    ]
    total = sum(parts[1:], start=parts[0])  # [1 or W, 1 or H, N, N]
    return total.detach().expand(windows, heads, -1, -1).flatten(0, 1)[None].contiguous()


def _is_query_dependent(encoding: Encoding) -> bool:
    return type(encoding).scores is not Encoding.scores


def _static(module: str, what: str, constant: Tensor) -> Baked:
    return Baked(module=module, kind="static", what=what, shape=tuple(constant.shape), bytes=_bytes(constant))


def _bytes(constant: Tensor) -> int:
    """Return what a constant takes in the graph, where numbers are float32 and indices int64."""
    return constant.numel() * (FLOAT32_BYTES if constant.is_floating_point() else INT64_BYTES)


def _query_dependent(module: str, encoding: Encoding) -> Baked:
    constants: list[Tensor] = [*encoding.parameters(), *encoding.buffers()]
    largest = max(constants, key=lambda constant: constant.ndim)
    return Baked(
        module=module,
        kind="query-dependent",
        what="scores computed for each image: they are products of its queries or keys with constant tables",
        shape=tuple(largest.shape),
        bytes=sum(map(_bytes, constants)),
    )
