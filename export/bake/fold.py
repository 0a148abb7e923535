"""Folding: two affine steps in a row are one. Computed on float64 weights.

`nn.Linear` holds W [out, in]; `Affine` holds its transpose, as ONNX's MatMul takes it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Affine(nn.Module):
    """x·W + b with W [in, out], so that the graph's constant keeps its name and needs no transposition."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().contiguous())
        self.bias = nn.Parameter(bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., in] to [..., out]."""
        return x @ self.weight + self.bias


def affine(layer: nn.Linear) -> Affine:
    """Return a linear layer as it is."""
    return Affine(layer.weight.T, _bias(layer))


def norm_into_linear(norm: nn.LayerNorm, layer: nn.Linear) -> Affine:
    """Return the layer that takes what `norm` yields before its own scale γ and shift β.

    (x̂·γ + β)·W + b = x̂·(γ·W) + (β·W + b)
    """
    weight = layer.weight.T
    return Affine(norm.weight[:, None] * weight, norm.bias @ weight + _bias(layer))


def scale_into_query(qkv: Affine, scale: float) -> Affine:
    """Return the joint q, k, v layer whose q is already multiplied by `scale`."""
    factor = torch.ones_like(qkv.bias)
    factor[: len(factor) // 3] = scale
    return Affine(qkv.weight * factor, qkv.bias * factor)


def scale_outputs(layer: Affine, gamma: Tensor | None) -> Affine:
    """Return the layer whose outputs are already multiplied by `gamma` [out], if there is one."""
    return layer if gamma is None else Affine(layer.weight * gamma, layer.bias * gamma)


def average(layers: Sequence[Affine]) -> Affine:
    """Return the layer that takes the layers' inputs side by side, and yields the mean of what they yield."""
    weight = torch.cat([layer.weight for layer in layers]) / len(layers)
    return Affine(weight, torch.stack([layer.bias for layer in layers]).mean(dim=0))


def _bias(layer: nn.Linear) -> Tensor:
    bias: Tensor | None = layer.bias
    return layer.weight.new_zeros(layer.out_features) if bias is None else bias


def pixels_into_patches(weight: Tensor, bias: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """Return (weight, bias) of a patch embedding that takes raw pixels 0 … 255 instead of (x/255 − mean)/std.

    Args:
        weight: [C, 3, p, p].
        bias: [C].
        mean: [3], in units of pixel / 255.
        std: [3], likewise.
    """
    folded = weight / (255 * std[:, None, None])
    return folded, bias - (weight * (mean / std)[:, None, None]).sum(dim=(1, 2, 3))
