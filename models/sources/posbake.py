"""`posbake:<name or config file>`: the networks of this project.

A config file is JSON: `network` (see `models.config`), `preprocess` (see `artifact.Preprocess`), and optionally
`model`, `variant` and `labels`. A name stands for one of the files in `models/configs/`.
"""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from torch import nn

from artifact import Preprocess
from models.build import build_network
from models.config import NetworkConfig, SwinConfig, ViTConfig
from models.sources.base import Checkpoint, Loaded, Overrides, Pretrained, RandomWeights, SourceError, Weights
from models.sources.checkpoints import read_checkpoint
from models.sources.checkpoints.advice import Advice
from models.sources.checkpoints.fit import check_fit
from models.sources.checkpoints.keys import fit_keys
from models.sources.preprocessing import at_size
from models.sources.textbook import config_at, state_at
from models.sources.weights import load_strictly, randomise, read_accuracy

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
    """Build the network of a configuration and give it its weights, at the size of training or another.

    Raises:
        SourceError: see `models.sources.load_source`.
    """
    config, config_name = read_config(name)
    trained = config.network
    resized = overrides.image_size not in (None, trained.image_size) or overrides.window_size is not None
    wanted = config_at(trained, overrides) if resized else trained
    network = _build(name, wanted)
    accuracy = None
    resampled: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    match weights:
        case Checkpoint():
            expected, advise = (_build(name, trained) if resized else network).state_dict(), Advice(f"posbake:{name}")
            contents = fit_keys(read_checkpoint(weights), expected, advise)
            state, notes = contents.state, contents.notes
            check_fit(state, expected, contents.origin, advise)
            accuracy = None if resized else read_accuracy(dict(contents.metadata), weights.path)
            if resized:
                state, resampled = state_at(state, trained, wanted)
            load_strictly(network, state, contents.origin)
        case RandomWeights(seed):
            randomise(network, seed)
        case Pretrained():
            raise SourceError(f"posbake publishes no weights for {name}; give --checkpoint or --random-weights SEED")
    return Loaded(
        network=network.eval(),
        name=f"posbake:{config_name}",
        architecture=wanted.architecture,
        encoding=wanted.encoding,
        image_size=wanted.image_size,
        num_classes=wanted.num_classes,
        preprocess=at_size(config.preprocess, wanted.image_size) if resized else config.preprocess,
        labels=config.labels,
        model=config.model,
        variant=config.variant,
        accuracy=accuracy,
        resampled=resampled,
        notes=notes,
    )


def _build(name: str, config: ViTConfig | SwinConfig) -> nn.Module:
    try:
        return build_network(config)
    except ValueError as error:
        raise SourceError(f"{name}: {error}") from error


def _problems(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()[:_NAMED])


_NAMED = 3  # how many problems an error names
