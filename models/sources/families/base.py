"""What a family says of a network that another library built: which of our networks it is, and where its weights go."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from models.config import SwinConfig, ViTConfig
from models.sources.base import Overrides

State = Mapping[str, Tensor]
"""Weights by key."""


def keep_keys(state: State) -> dict[str, Tensor]:
    """Return `state` as it is: the file's keys are those of the library's module."""
    return dict(state)


@dataclass(frozen=True)
class Rehosted:
    """The same network as the library's, in ours.

    Attributes:
        config: our network, at the sizes that the library's module has.
        map_state: from the keys of the library's `state_dict()` to ours. It sees exactly those keys, with their shapes
            (only the number of classes may differ), so it need not check.
        adopt: from other published names of the same weights (the authors' repository) to the library's, buffers that
            can be computed included. It passes on unchanged what it does not know: that is an error later.
    """

    config: ViTConfig | SwinConfig
    map_state: Callable[[State], dict[str, Tensor]]
    adopt: Callable[[State], dict[str, Tensor]] = keep_keys


class Family(Protocol):
    """Recognises the networks of one architecture that one library builds."""

    def __call__(self, model: nn.Module, image_size: tuple[int, int]) -> Rehosted | None:
        """Return what `model`, with weights or without, is in ours; None if it is of another family.

        `image_size` is (height, width) in pixels as trained, for those that take any and do not know it.

        Raises:
            SourceError: it is of this family, but does what our network does not; the message says what.
        """
        ...


class Resizer(Protocol):
    """Brings a network of one architecture to other sizes than it was trained at."""

    def belongs_to(self, trained: ViTConfig | SwinConfig) -> str | None:
        """Return which size of training ("image size", "window size") position weights do not show by their shape."""
        ...

    def config(self, trained: ViTConfig | SwinConfig, overrides: Overrides) -> ViTConfig | SwinConfig:
        """Return the configuration at the sizes asked for.

        Raises:
            SourceError: it has no such size.
        """
        ...

    def state(
        self, state: State, trained: ViTConfig | SwinConfig, wanted: ViTConfig | SwinConfig
    ) -> tuple[dict[str, Tensor], tuple[str, ...]]:
        """Return our weights for the sizes wanted, and a sentence for each thing that was resampled or recomputed."""
        ...
