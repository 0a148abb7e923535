"""Request for a network from a source, and the loaded network."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PositiveInt, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass
from torch import nn

from artifact import Accuracy, Preprocess, Task


class SourceError(Exception):
    """A network is not available; the message names the cause and the remedy."""


def one_line(error: Exception) -> str:
    """Return the kind of an exception and the first line of its message."""
    message = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def problems(error: ValidationError, whole: str = "") -> str:
    """Return the first three problems that pydantic found, each with its location; `whole` names the object itself."""
    found = error.errors()[:3]
    return "; ".join(f"{'.'.join(map(str, item['loc'])) or whole}: {item['msg']}" for item in found)


@checked_dataclass(frozen=True)
class Checkpoint:
    """Weights from a safetensors or torch.save file, from an index of shards, or from a folder.

    Attributes:
        path: the file, or a folder that has one; for `transformers:` the folder's `config.json` is read too.
        key: key of the weights in the file (`--weights-key`); None searches for them.
    """

    path: Path
    key: str | None = None


@dataclass(frozen=True)
class Pretrained:
    """Weights published by the source's library."""


@checked_dataclass(frozen=True)
class RandomWeights:
    """Weights drawn from a seed, with position tables large enough to change the logits."""

    seed: Annotated[int, Field(ge=-(2**63), lt=2**64)]  # torch's range


Weights = Checkpoint | Pretrained | RandomWeights


@checked_dataclass(frozen=True)
class Overrides:
    """Overrides of the configuration; None keeps the configured value.

    Attributes:
        image_size: (height, width) in pixels.
        window_size: side in tokens.
        config: file with the sizes of cream:custom, which has no configuration of its own.
        num_classes: classes of the head that is added to a network without one; other networks keep their head.
        trained_image_size, trained_window_size: sizes of training, if not the defaults of the name.
        model_args: options of the library's constructor.
    """

    image_size: tuple[PositiveInt, PositiveInt] | None = None
    window_size: PositiveInt | None = None
    config: Path | None = None
    num_classes: PositiveInt | None = None
    trained_image_size: tuple[PositiveInt, PositiveInt] | None = None
    trained_window_size: PositiveInt | None = None
    model_args: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Loaded:
    """Network with its weights, in eval mode, and its metadata.

    Attributes:
        network: maps normalised float images [B, 3, height, width] to logits [B, classes].
        name: name of the network, without directories.
        model: name of the task, if the source has one.
        variant: name of the variant, if the source has one.
        accuracy: measured accuracy of the weights, if known and nothing was overridden.
        resampled: a sentence for each kind of position table that was resampled.
        task: kind of outputs, if the source declares it.
        notes: a sentence for each automatic decision on loading that the user may want to know.
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
