"""Loading of posbake's own networks, at the sizes of training or others.

Learned tables are resampled (`models.sources.positions`); everything else is recomputed for the new grid, which is
exact.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from artifact import Accuracy, Preprocess
from models.build import build_network
from models.config import SwinConfig, ViTConfig
from models.encodings import Encoding
from models.sources.base import Checkpoint, Loaded, Overrides, RandomWeights, SourceError, Weights
from models.sources.checkpoints import read_checkpoint
from models.sources.checkpoints.advice import Advice
from models.sources.checkpoints.fit import check_fit
from models.sources.checkpoints.keys import fit_keys
from models.sources.library_module import check_resampled
from models.sources.positions import EMBEDDING, OF_IMAGE, OF_WINDOWS, OVER_OFFSETS, Positions, Table, bring
from models.sources.preprocessing import at_size
from models.swin import SwinBlock


@dataclass(frozen=True)
class Own:
    """Network of this project, at the sizes of training.

    Attributes:
        source: `kind:name`, for errors.
        shown: the same without directories.
        config: configuration of the network.
        preprocess: preprocessing of its images.
        published: location of published weights, for the error about --pretrained.
        key: maps a key of the network to the checkpoint's.
        labels, model, variant: see `Loaded`.
    """

    source: str
    shown: str
    config: ViTConfig | SwinConfig
    preprocess: Preprocess
    published: str
    key: Callable[[str], str] = str
    labels: tuple[str, ...] | None = None
    model: str | None = None
    variant: str | None = None

    def load(self, weights: Weights, overrides: Overrides) -> Loaded:
        """Build the network and load its weights, at the size of training or another.

        Raises:
            SourceError: see `models.sources.load_source`.
        """
        trained = wanted = self.config
        resized = overrides.image_size not in (None, trained.image_size) or overrides.window_size is not None
        if resized:
            wanted = config_at(trained, overrides)
        network = self._build(wanted)
        accuracy = None
        resampled: tuple[str, ...] = ()
        notes: tuple[str, ...] = ()
        if isinstance(weights, RandomWeights):
            randomise(network, weights.seed)
        elif isinstance(weights, Checkpoint):
            ours = (self._build(trained) if resized else network).state_dict()
            expected, advise = {self.key(key): ours[key] for key in ours}, Advice(self.source, trained.image_size)
            contents = fit_keys(read_checkpoint(weights), expected, advise)
            check_fit(contents.state, expected, contents.origin, advise)
            state, notes = {key: contents.state[self.key(key)] for key in ours}, contents.notes
            if resized:
                state, changes = bring(state, positions_of(trained), positions_of(wanted))
                check_resampled(self.source, state, network.state_dict())
                resampled = tuple(changes)
            else:
                accuracy = read_accuracy(contents.metadata.get("accuracy"), weights.path)
            network.load_state_dict(state)
        else:
            raise SourceError(f"{self.source}: {self.published}; give --checkpoint FILE or --random-weights SEED")
        return Loaded(
            network=network.eval(),
            name=self.shown,
            architecture=wanted.architecture,
            encoding=wanted.encoding,
            image_size=wanted.image_size,
            num_classes=wanted.num_classes,
            preprocess=at_size(self.preprocess, wanted.image_size),
            labels=self.labels,
            model=self.model,
            variant=self.variant,
            accuracy=accuracy,
            resampled=resampled,
            notes=notes,
        )

    def _build(self, config: ViTConfig | SwinConfig) -> nn.Module:
        try:
            return build_network(config)
        except ValueError as error:
            raise SourceError(f"{self.source}: {error}") from error


def config_at(trained: ViTConfig | SwinConfig, overrides: Overrides) -> ViTConfig | SwinConfig:
    """Return the configuration at the requested sizes; the window size changes only if requested.

    The network itself checks that the window and image sizes of a Swin fit.

    Raises:
        SourceError: a window size for a ViT, or an image size that is not a multiple of the patch size.
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
    if log_cpb in trained.encodings:  # the bias keeps the units of its first training windows
        windows = {table.stage: table.grid for table in positions_of(trained).tables.values()}
        wanted["stage_options"] = tuple(
            {log_cpb: {"pretrained_window": windows[stage]} | options.get(log_cpb, {})}
            for stage, options in enumerate(trained.stage_options or [{}] * len(trained.depths))
        )
    return trained.model_copy(update=wanted)


def positions_of(config: ViTConfig | SwinConfig) -> Positions:
    """Return the position tables of a network. Encodings that are fixed or equal for all grids have none."""
    with torch.device("meta"):
        network = build_network(config)
    tables: dict[str, Table] = {}
    grid = (config.image_size[0] // config.patch_size, config.image_size[1] // config.patch_size)
    if "learned" in config.encodings:
        extra = config.extra_tokens if isinstance(config, ViTConfig) else 0
        tables["position.table"] = Table(EMBEDDING, grid, extra_tokens=extra)
    relative = {"swin-table", "swin-log-cpb" if isinstance(config, SwinConfig) else "beit-table"} & {*config.encodings}
    for path, block in network.named_modules() if relative else ():
        if isinstance(block, SwinBlock):
            kind = OVER_OFFSETS if "swin-log-cpb" in relative else OF_WINDOWS
            name = "mlp.0.weight" if kind is OVER_OFFSETS else "table"
            tables[f"{path}.attention.encoding.{name}"] = Table(kind, block.window, stage=int(path.split(".")[1]))
        elif isinstance(config, ViTConfig) and path.endswith("attention.encoding"):
            tables[f"{path}.table"] = Table(OF_IMAGE, grid)
    return Positions(config.encoding, tables)


def read_accuracy(text: str | None, origin: Path) -> Accuracy | None:
    """Return the accuracy in a checkpoint's metadata, written by training; None if there is none.

    Raises:
        SourceError: the entry is not {"dataset", "top1", "count"}.
    """
    if text is None:
        return None
    try:
        return Accuracy.model_validate(json.loads(text))
    except (ValidationError, ValueError) as error:
        raise SourceError(f"{origin}: its metadata has an accuracy that cannot be read: {error}") from error


def randomise(network: nn.Module, seed: int) -> None:
    """Draw random weights for every parameter, including position tables with zero or small initial values.

    A comparison of two networks with zero tables proves nothing about their position encoding.
    """
    generator = torch.Generator().manual_seed(seed)
    tables = {id(p) for module in network.modules() if isinstance(module, Encoding) for p in module.parameters()}
    scales = {id(module.weight) for module in network.modules() if isinstance(module, nn.LayerNorm)}
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if id(parameter) in tables:
                parameter.copy_(0.5 * noise)
            elif parameter.ndim > 1:
                parameter.copy_(noise * parameter[0].numel() ** -0.5)
            else:
                parameter.copy_(0.1 * noise + (1 if id(parameter) in scales else 0))
