"""`posbake:<name or config file>`: networks of this project.

A config file is JSON: `network` (see `models.config`), `preprocess` (see `artifact.Preprocess`), and optionally
`model`, `variant` and `labels`. A name stands for one of the files in `models/configs/`.
"""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from artifact import Preprocess
from models.config import NetworkConfig
from models.sources.base import Loaded, Overrides, SourceError, Weights, problems
from models.sources.own import Own

CONFIGS = Path(__file__).parent.parent / "configs"


class PosbakeConfig(BaseModel):
    """Contents of a config file: the network and the preprocessing of its images."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | None = None
    variant: str | None = None
    labels: tuple[str, ...] | None = None
    preprocess: Preprocess
    network: NetworkConfig

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.preprocess.size != self.network.image_size:
            raise ValueError(
                f"preprocess yields {self.preprocess.size}, but the network takes {self.network.image_size}"
            )
        if self.labels is not None and len(self.labels) != self.network.num_classes:
            raise ValueError(f"{len(self.labels)} labels for {self.network.num_classes} classes")
        return self


def read_config(name: str) -> tuple[PosbakeConfig, str]:
    """Return the configuration in file `name`, or of that name in `models/configs/`, and its display name.

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
        raise SourceError(f"{name} is not a configuration: {problems(error)}") from error


def load(name: str, weights: Weights, overrides: Overrides) -> Loaded:
    """Build the network of a configuration and load its weights, at the size of training or another.

    Raises:
        SourceError: see `models.sources.load_source`.
    """
    config, config_name = read_config(name)
    own = Own(
        source=f"posbake:{name}",
        shown=f"posbake:{config_name}",
        config=config.network,
        preprocess=config.preprocess,
        published="posbake does not publish weights for it",
        labels=config.labels,
        model=config.model,
        variant=config.variant,
    )
    return own.load(weights, overrides)
