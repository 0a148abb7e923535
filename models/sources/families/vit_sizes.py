"""A ViT at another image size than that of training.

Learned tables belong to a grid of tokens and are resampled: absolute embeddings as timm does (bicubic, antialiased),
relative ones as BEiT's authors do (on geometrically spaced offsets, timm's linear form of it). Everything else is
recomputed for the new grid, which is exact.
"""

from typing import Any

from torch import Tensor

from models.build import build_network
from models.config import SwinConfig, ViTConfig
from models.sources.base import Overrides, SourceError
from models.sources.families.base import State
from models.sources.resampling import resample_embedding, resample_relative_table

EMBEDDING = "position.table"
RELATIVE = ".encoding.table"


class ViTResizer:
    """See `models.sources.families.base.Resizer`."""

    def belongs_to(self, trained: ViTConfig | SwinConfig) -> str | None:  # noqa: ARG002 -- the same for all
        """Return "image size": as many tokens may form another grid."""
        return "image size"

    def config(self, trained: ViTConfig | SwinConfig, overrides: Overrides) -> ViTConfig | SwinConfig:
        """Return the configuration at the image size asked for.

        Raises:
            SourceError: a window size is asked for, or the patches do not divide the image.
        """
        if overrides.window_size is not None:
            raise SourceError("--window-size: a vit has no windows")
        wanted: dict[str, Any] = {"image_size": overrides.image_size or trained.image_size}
        if any(side % trained.patch_size for side in wanted["image_size"]):
            raise SourceError(
                f"--image-size: {wanted['image_size']} is not a multiple of the patch size {trained.patch_size}"
            )
        return trained.model_copy(update=wanted)

    def state(
        self, state: State, trained: ViTConfig | SwinConfig, wanted: ViTConfig | SwinConfig
    ) -> tuple[dict[str, Tensor], tuple[str, ...]]:
        """Return our weights for the image size wanted, and a sentence for each kind of table that was resampled."""
        assert isinstance(trained, ViTConfig)
        old, new = _grid(trained), _grid(wanted)
        if old == new:
            return dict(state), ()
        shapes = {key: tensor.shape for key, tensor in build_network(wanted).state_dict().items()}
        resized, done = {}, {}
        grids = f"from {old[0]}×{old[1]} to {new[0]}×{new[1]} tokens"
        for key, tensor in state.items():
            if key == EMBEDDING:
                resized[key] = resample_embedding(tensor, old, new, trained.extra_tokens)
                done["absolute"] = f"position embedding {grids}, bicubic with antialiasing"
            elif key.endswith(RELATIVE) and _is_of_grid(tensor, old):
                resized[key] = resample_relative_table(tensor, old, new)
                done["relative"] = f"relative position tables {grids}, linear on geometrically spaced offsets"
            elif tensor.shape == shapes[key]:
                resized[key] = tensor
            else:
                raise SourceError(f"--image-size: no way is known to bring {key} {grids}")
        return resized, tuple(done.values())


def _grid(config: ViTConfig | SwinConfig) -> tuple[int, int]:
    return config.image_size[0] // config.patch_size, config.image_size[1] // config.patch_size


def _is_of_grid(table: Tensor, grid: tuple[int, int]) -> bool:
    """Whether a table has a row for every offset on the grid, with or without BEiT's three for extra tokens."""
    offsets = (2 * grid[0] - 1) * (2 * grid[1] - 1)
    return table.ndim == 2 and len(table) in (offsets, offsets + 3)
