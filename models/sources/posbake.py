"""`posbake:<name or config file>`: the networks of this project.

A config file is JSON: `network` (see `models.config`), `preprocess` (see `artifact.Preprocess`), and optionally
`model`, `variant` and `labels`. A name stands for one of the files in `models/configs/`.
"""

from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from artifact import Preprocess
from models.build import build_network
from models.config import NetworkConfig
from models.sources.base import Checkpoint, Loaded, Overrides, Pretrained, RandomWeights, SourceError, Weights
from models.sources.weights import load_strictly, randomise, read_accuracy, read_checkpoint

CONFIGS = Path(__file__).parent.parent / "configs"


class PosbakeConfig(BaseModel):
    """A config file: what to build, and how its images are prepared."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | None = None
    variant: str | None = None
    labels: tuple[str, ...] | None = None
    preprocess: Preprocess
    network: NetworkConfig

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.preprocess.size != self.network.image_size:
            raise ValueError(f"preprocess yields {self.preprocess.size}, the network takes {self.network.image_size}")
        if self.labels is not None and len(self.labels) != self.network.num_classes:
            raise ValueError(f"{len(self.labels)} labels for {self.network.num_classes} classes")
        return self


def read_config(name: str) -> tuple[PosbakeConfig, str]:
    """Return the configuration in file `name`, or of that name in `models/configs/`, and what to call it.

    Raises:
        SourceError: there is no such file or name, or it does not describe a network.
    """
    path = Path(name)
    if not path.suffix:
        path = CONFIGS / f"{name}.json"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        known = ", ".join(sorted(file.stem for file in CONFIGS.glob("*.json")))
        raise SourceError(f"cannot read {name}: expected a .json config file or one of {known}") from error
    try:
        return PosbakeConfig.model_validate_json(text), path.stem
    except ValidationError as error:
        raise SourceError(f"{name} is not a configuration: {_problems(error)}") from error


def load(name: str, weights: Weights, overrides: Overrides) -> Loaded:
    """Build the network of a configuration and give it its weights.

    Raises:
        SourceError: see `models.sources.load_source`.
    """
    config, config_name = read_config(name)
    overridden = _override(config, overrides)
    try:
        network = build_network(overridden.network)
    except ValueError as error:
        raise SourceError(f"{name}: {error}") from error
    accuracy = None
    match weights:
        case Checkpoint(path):
            state, metadata = read_checkpoint(path)
            load_strictly(network, state, path)
            accuracy = read_accuracy(metadata, path) if overridden == config else None
        case RandomWeights(seed):
            randomise(network, seed)
        case Pretrained():
            raise SourceError(f"posbake publishes no weights for {name}; give --checkpoint or --random-weights SEED")
    return Loaded(
        network=network.eval(),
        name=f"posbake:{config_name}",
        architecture=overridden.network.architecture,
        encoding=overridden.network.encoding,
        image_size=overridden.network.image_size,
        num_classes=overridden.network.num_classes,
        preprocess=overridden.preprocess,
        labels=config.labels,
        model=config.model,
        variant=config.variant,
        accuracy=accuracy,
    )


def _override(config: PosbakeConfig, overrides: Overrides) -> PosbakeConfig:
    network: dict[str, Any] = config.network.model_dump()
    preprocess = config.preprocess
    if overrides.image_size is not None and overrides.image_size != config.network.image_size:
        network["image_size"] = overrides.image_size
        preprocess = _at_size(preprocess, overrides.image_size)
    if overrides.window_size is not None:
        if "window_size" not in network:
            raise SourceError(f"--window-size: a {config.network.architecture} has no windows")
        network["window_size"] = overrides.window_size
    try:
        return PosbakeConfig.model_validate(config.model_dump() | {"network": network, "preprocess": preprocess})
    except ValidationError as error:
        raise SourceError(f"--image-size or --window-size: {_problems(error)}") from error


def _at_size(preprocess: Preprocess, size: tuple[int, int]) -> Preprocess:
    """Return the same preparation for another image size: what was cropped away stays the same share."""
    if preprocess.crop is None:
        return preprocess.model_copy(update={"resize": size})
    scale = max(size[0] / preprocess.crop[0], size[1] / preprocess.crop[1])
    resize = preprocess.resize
    scaled = round(resize * scale) if isinstance(resize, int) else tuple(round(side * scale) for side in resize)
    return preprocess.model_copy(update={"resize": scaled, "crop": size})


def _problems(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()[:_NAMED])


_NAMED = 3  # how many problems an error names
