"""This project's own networks at other sizes than those of training.

Learned tables are resampled (`models.sources.positions`); everything else is recomputed for the new grid, which is
exact.
"""

from typing import Any

import torch
from torch import Tensor

from models.build import build_network
from models.config import SwinConfig, ViTConfig
from models.sources.base import Overrides, SourceError
from models.sources.positions import State, bring, in_textbook


def config_at(trained: ViTConfig | SwinConfig, overrides: Overrides) -> ViTConfig | SwinConfig:
    """Return the configuration at the sizes asked for; windows stay as they are unless asked for.

    Whether windows and image of a Swin fit is for the network to say.

    Raises:
        SourceError: a ViT is asked for windows, or its patches do not divide the image.
    """
    wanted: dict[str, Any] = {"image_size": overrides.image_size or trained.image_size}
    if isinstance(trained, ViTConfig):
        if overrides.window_size is not None:
            raise SourceError("--window-size: a vit has no windows")
        if any(side % trained.patch_size for side in wanted["image_size"]):
            raise SourceError(
                f"--image-size: {wanted['image_size']} is not a multiple of the patch size {trained.patch_size}"
            )
        return trained.model_copy(update=wanted)
    if overrides.window_size is not None:
        wanted["window_size"] = overrides.window_size
    log_cpb = "swin-log-cpb"
    if log_cpb in trained.encodings:  # its bias stays in units of the windows that it was first trained with
        windows = {table.stage: table.grid for table in in_textbook(trained).tables.values()}
        wanted["stage_options"] = tuple(
            {log_cpb: {"pretrained_window": windows[stage]} | options.get(log_cpb, {})}
            for stage, options in enumerate(trained.stage_options or [{}] * len(trained.depths))
        )
    return trained.model_copy(update=wanted)


def state_at(
    state: State, trained: ViTConfig | SwinConfig, wanted: ViTConfig | SwinConfig
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return weights for the sizes wanted, and a sentence for each thing that was resampled or recomputed.

    Raises:
        SourceError: a weight has another shape there, and no way is known to resample it.
    """
    brought, changes = bring(state, in_textbook(trained), in_textbook(wanted))
    with torch.device("meta"):
        shapes = {key: tensor.shape for key, tensor in build_network(wanted).state_dict().items()}
    other = next((key for key, tensor in brought.items() if tensor.shape != shapes[key]), None)
    if other is not None:
        raise SourceError(
            f"--image-size: no way is known to bring {other} from {list(state[other].shape)} to {list(shapes[other])}"
        )
    return brought, tuple(change.sentence for change in changes)
