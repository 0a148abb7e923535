"""Request to a source, and the loaded network that it returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import nn

from artifact import Accuracy, Preprocess, Task


class SourceError(Exception):
    """A network is not available; the message names the cause and the remedy."""


def one_line(error: Exception) -> str:
    """Return the kind of an exception and the first line of its message."""
    message = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def problems(error: ValidationError, whole: str = "") -> str:
    """Return the first three problems that pydantic found, each with its place; `whole` names the object itself."""
    found = error.errors()[:3]
    return "; ".join(f"{'.'.join(map(str, item['loc'])) or whole}: {item['msg']}" for item in found)


@dataclass(frozen=True)
class Checkpoint:
    """Weights from a file of safetensors or torch.save, from an index of shards, or from a folder.

    Attributes:
        path: the file, or a folder that has one; for `transformers:` its `config.json` counts too.
        key: where the weights are in it (`--weights-key`); None searches for them.
    """

    path: Path
    key: str | None = None


@dataclass(frozen=True)
class Pretrained:
    """The weights that the source's library publishes."""


@dataclass(frozen=True)
class RandomWeights:
    """Weights drawn from a seed, position tables wide enough to matter."""

    seed: int


Weights = Checkpoint | Pretrained | RandomWeights


@dataclass(frozen=True)
class Overrides:
    """Overrides of the configuration; None keeps its value."""

    image_size: tuple[int, int] | None = None  # (height, width) in pixels
    window_size: int | None = None  # in tokens
    config: Path | None = None  # the sizes of cream:custom, which has no configuration of its own
    num_classes: int | None = None  # of the head that a network without one is given; others keep theirs
    trained_image_size: tuple[int, int] | None = None  # of training, where it is not the name's
    trained_window_size: int | None = None  # likewise
    model_args: Mapping[str, Any] = field(default_factory=dict)  # options of the library's constructor


@dataclass(frozen=True)
class Loaded:
    """A network with its weights, in eval mode, and all that is needed to use it.

    Attributes:
        network: maps normalised float images [B, 3, height, width] to logits [B, classes].
        name: what was loaded, without directories.
        model: the task's name, if the source has one.
        variant: the variant's name, if the source has one.
        accuracy: what its weights were measured to reach, if they were and nothing was overridden.
        resampled: a sentence for each kind of position table that was brought to another size.
        task: what the outputs are, if the source declares it.
        notes: a sentence for each thing that was settled on loading and that the user may want to know.
    """

    network: nn.Module
    name: str
    architecture: str
    encoding: str
    image_size: tuple[int, int]
    num_classes: int
    preprocess: Preprocess
    labels: tuple[str, ...] | None
    model: str | None
    variant: str | None
    accuracy: Accuracy | None
    resampled: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    task: Task | None = None
