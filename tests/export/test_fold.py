"""Folding changes the weights, never the answer."""

import torch
from torch import Tensor, nn

from export.bake.fold import affine, norm_into_linear, pixels_into_patches, scale_into_query


def filled(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return module.double()


def plain_norm(x: Tensor) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt()


def test_a_norms_scale_and_shift_go_into_the_next_layer() -> None:
    norm, layer = filled(nn.LayerNorm(6, eps=1e-6)), filled(nn.Linear(6, 4))
    assert isinstance(norm, nn.LayerNorm)
    assert isinstance(layer, nn.Linear)
    x = torch.randn(3, 6).double()
    torch.testing.assert_close(norm_into_linear(norm, layer)(plain_norm(x)), layer(norm(x)), rtol=0, atol=1e-12)


def test_a_layer_without_bias_gets_one_from_the_norms_shift() -> None:
    norm, layer = filled(nn.LayerNorm(6, eps=1e-6)), filled(nn.Linear(6, 4, bias=False))
    assert isinstance(norm, nn.LayerNorm)
    assert isinstance(layer, nn.Linear)
    x = torch.randn(3, 6).double()
    folded = norm_into_linear(norm, layer)
    assert bool(folded.bias.any())
    torch.testing.assert_close(folded(plain_norm(x)), layer(norm(x)), rtol=0, atol=1e-12)


def test_the_scale_reaches_the_query_and_nothing_else() -> None:
    layer = filled(nn.Linear(6, 18))
    assert isinstance(layer, nn.Linear)
    x = torch.randn(3, 6).double()
    q, k, v = layer(x).chunk(3, dim=-1)
    expected = torch.cat([q * 0.25, k, v], dim=-1)
    torch.testing.assert_close(scale_into_query(affine(layer), 0.25)(x), expected, rtol=0, atol=1e-12)


def test_pixels_go_straight_into_the_patch_embedding() -> None:
    conv = filled(nn.Conv2d(3, 5, kernel_size=4, stride=4))
    assert isinstance(conv, nn.Conv2d)
    assert conv.bias is not None
    mean, std = torch.tensor([0.1, 0.5, 0.9]).double(), torch.tensor([0.2, 0.3, 0.4]).double()
    pixels = torch.randint(0, 256, (2, 3, 8, 12)).double()
    weight, bias = pixels_into_patches(conv.weight, conv.bias, mean, std)
    normalised = (pixels / 255 - mean[:, None, None]) / std[:, None, None]
    raw = nn.functional.conv2d(pixels, weight, bias, stride=4)
    torch.testing.assert_close(raw, conv(normalised), rtol=0, atol=1e-10)
