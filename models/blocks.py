"""Patch embedding and MLP, the common parts of the vision transformers."""

from torch import Tensor, nn


class PatchEmbed(nn.Module):
    """Cut images into square patches and map each to a token, in raster order.

    Args:
        image_size: (height, width) in pixels.
        patch_size: side of a patch in pixels.
        width: C.

    Raises:
        ValueError: the patch does not divide the image.
    """

    def __init__(self, image_size: tuple[int, int], patch_size: int, width: int) -> None:
        super().__init__()
        height, image_width = image_size
        if height % patch_size or image_width % patch_size:
            raise ValueError(
                f"image size {height}×{image_width} is not a multiple of the patch size {patch_size}; "
                "choose an image size that is"
            )
        self.grid = (height // patch_size, image_width // patch_size)
        self.proj = nn.Conv2d(3, width, kernel_size=patch_size, stride=patch_size)

    def forward(self, images: Tensor) -> Tensor:
        """Map [B, 3, height, width] to [B, N, C]."""
        tokens: Tensor = self.proj(images)  # [B, C, rows, columns]
        return tokens.flatten(2).transpose(1, 2)


class MLP(nn.Module):
    """Two linear layers with a GELU between them, applied to each token."""

    def __init__(self, width: int, ratio: float) -> None:
        super().__init__()
        hidden = int(width * ratio)
        self.fc1 = nn.Linear(width, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, N, C] to [B, N, C]."""
        out: Tensor = self.fc2(self.act(self.fc1(x)))
        return out
