"""What the inference forms are built from.

Shapes: B images, L = W·N tokens of an image in window order (a ViT has one window, W = 1), H heads, d head width,
C = H·d width. Shapes are written with −1 for the batch only, so that the graph needs no shape arithmetic.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.bake.fold import affine, average, norm_into_linear, pixels_into_patches, scale_outputs
from models.blocks import MLP, PatchEmbed


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


class InferenceMLP(nn.Module):
    """x + MLP(norm(x)), or x + norm(MLP(x)); a norm that comes first is folded into the first layer.

    With `gamma` [C], what is added is multiplied by it, which is folded into the second layer.
    """

    def __init__(self, norm: nn.LayerNorm, mlp: MLP, *, post_norm: bool = False, gamma: Tensor | None = None) -> None:
        super().__init__()
        self.eps = norm.eps
        self.post_norm = norm if post_norm else None
        self.fc1 = affine(mlp.fc1) if post_norm else norm_into_linear(norm, mlp.fc1)
        self.fc2 = scale_outputs(affine(mlp.fc2), gamma)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, L, C] to [B, L, C]."""
        h = x if self.post_norm is not None else F.layer_norm(x, x.shape[-1:], eps=self.eps)
        h = self.fc2(F.gelu(self.fc1(h)))
        mixed: Tensor = x + (h if self.post_norm is None else self.post_norm(h))
        return mixed


class InferenceHead(nn.Module):
    """Pooling, norm and classification. Scale and shift of the norm are folded into the last layer.

    Args:
        norm: of tokens, or of their mean.
        heads: one; or, without `mean_from`, one for each of the first tokens, whose logits are averaged.
        mean_from: the place of the first token of the mean; None takes single tokens instead.
        norm_after_pool: whether the norm is that of the mean.
    """

    def __init__(
        self, norm: nn.LayerNorm, *heads: nn.Linear, mean_from: int | None = None, norm_after_pool: bool = False
    ) -> None:
        super().__init__()
        self.eps = norm.eps
        self.first_tokens = len(heads)
        self.mean_from, self.norm_after_pool = mean_from, norm_after_pool
        self.classify = average([norm_into_linear(norm, head) for head in heads])

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, L, C] to logits [B, classes]."""
        width = x.shape[-1]
        if self.mean_from is None:
            pooled = self._norm(x[:, : self.first_tokens]).reshape(-1, self.first_tokens * width)
        else:
            x = x[:, self.mean_from :] if self.mean_from else x
            pooled = self._norm(x.mean(dim=1)) if self.norm_after_pool else self._norm(x).mean(dim=1)
        logits: Tensor = self.classify(pooled)
        return logits

    def _norm(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], eps=self.eps)
