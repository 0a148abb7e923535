"""A Swin at other sizes than those of training.

Tables of v1 belong to a window and are resampled as the authors do, bicubic over the grid of offsets. The network that
yields the bias of v2 takes offsets in units of the window it was trained at, so it is evaluated anew, which is exact.
"""

from typing import Any

from torch import Tensor

from models.config import SwinConfig, ViTConfig
from models.sources.base import Overrides
from models.sources.families.base import State
from models.sources.resampling import resample_window_table

TABLE, LOG_CPB = "swin-table", "swin-log-cpb"

Sides = tuple[int, int]


class SwinResizer:
    """See `models.sources.families.base.Resizer`."""

    def belongs_to(self, trained: ViTConfig | SwinConfig) -> str | None:
        """Return "window size" for v2, whose network over offsets fits every window; a table has that of its shape."""
        return "window size" if LOG_CPB in trained.encodings else None

    def config(self, trained: ViTConfig | SwinConfig, overrides: Overrides) -> ViTConfig | SwinConfig:
        """Return the configuration at the sizes asked for; windows stay as they are unless asked for.

        Whether window and image fit is for the network to say.
        """
        assert isinstance(trained, SwinConfig)
        wanted: dict[str, Any] = {"image_size": overrides.image_size or trained.image_size}
        if overrides.window_size is not None:
            wanted["window_size"] = overrides.window_size
        if LOG_CPB in trained.encodings:
            wanted["stage_options"] = tuple(
                {LOG_CPB: {"pretrained_window": _windows(trained)[stage]} | options.get(LOG_CPB, {})}
                for stage, options in enumerate(trained.stage_options or [{}] * len(trained.depths))
            )
        return trained.model_copy(update=wanted)

    def state(
        self, state: State, trained: ViTConfig | SwinConfig, wanted: ViTConfig | SwinConfig
    ) -> tuple[dict[str, Tensor], tuple[str, ...]]:
        """Return our weights for the windows wanted, and a sentence for each change of a window."""
        assert isinstance(trained, SwinConfig)
        assert isinstance(wanted, SwinConfig)
        resized = dict(state)
        changes: dict[tuple[Sides, Sides], list[int]] = {}
        for stage, (old, new) in enumerate(zip(_windows(trained), _windows(wanted), strict=True)):
            if old == new:
                continue
            changes.setdefault((old, new), []).append(stage)
            for block in range(trained.depths[stage]):
                key = f"stages.{stage}.blocks.{block}.attention.encoding.table"
                if key in state:
                    resized[key] = resample_window_table(state[key], old, new)
        tables = TABLE in trained.encodings
        how = "bicubic" if tables else "recomputed from the windows of training"
        return resized, tuple(
            f"relative position {'tables' if tables else 'bias'} of stage {', '.join(map(str, stages))} "
            f"from {old[0]}×{old[1]} to {new[0]}×{new[1]} windows, {how}"
            for (old, new), stages in changes.items()
        )


def _windows(config: SwinConfig) -> list[Sides]:
    """Return the windows of each stage, none larger than its grid."""
    high, wide = (side // config.patch_size for side in config.image_size)
    return [
        (min(config.window_of(stage), high // 2**stage), min(config.window_of(stage), wide // 2**stage))
        for stage in range(len(config.depths))
    ]
