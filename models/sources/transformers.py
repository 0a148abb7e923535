"""`transformers:<id or local folder>`: network of Hugging Face transformers.

The folder needs `config.json` and `preprocessor_config.json`. transformers itself reads the checkpoint, because it
renames keys: errors name the module's keys, which may differ from those of an older file.

A checkpoint that is a folder has its own `config.json`, and optionally its own preprocessing.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from artifact import Task
from models.sources.base import Checkpoint, Loaded, Overrides, Pretrained, SourceError, Weights
from models.sources.checkpoints import Contents
from models.sources.library import Library, certain_sizes, check_options
from models.sources.positions import Positions
from models.sources.preprocessing import at_size
from models.sources.processors import pair, preprocess_of
from models.sources.transformers_weights import (
    Built,
    auto,
    build,
    check_loading,
    find_weights,
    library,
    quietly,
)

RESERVED = {"architectures", "auto_map", "dtype", "model_type", "name_or_path", "num_channels", "torch_dtype"}
"""Entries of a configuration that are not options of the network, or that other flags set."""

_PARTS_OF_AN_ID = 2
_TASKS: dict[str, Task] = {
    "single_label_classification": "single-label",
    "multi_label_classification": "multi-label",
    "regression": "regression",
}
_PROCESSOR = "preprocessor_config.json"


def load(name: str, weights: Weights, overrides: Overrides) -> Loaded:
    """Build a network as transformers does, and load its weights.

    Raises:
        SourceError: see `models.sources.load_source`.
    """
    source = f"transformers:{name}"
    folder = Path(name).expanduser()
    if not folder.is_dir() and (
        folder.is_absolute() or name.startswith((".", "~")) or len(folder.parts) > _PARTS_OF_AN_ID
    ):
        raise SourceError(f"{source}: there is no such folder, and it is not an id on the Hub (owner/name)")
    place = str(folder) if folder.is_dir() else name
    with quietly(source):
        origin = find_weights(place, weights)
        config = configure(
            source, library().AutoConfig.from_pretrained(origin.base, trust_remote_code=False), overrides
        )
        _check_classifies(source, config)
        prepared = origin.base
        if origin.config is not None:
            config = configure(source, _config_of(source, config, origin.config), overrides)
            prepared = str(origin.config) if (origin.config / _PROCESSOR).is_file() else prepared
        if not (Path(prepared) / _PROCESSOR).is_file() and (folder / _PROCESSOR).is_file():
            prepared = str(folder)  # the folder of an adapter may have this file only
        _check_is_prepared(source, Path(prepared))
        processor = library().AutoImageProcessor.from_pretrained(prepared, trust_remote_code=False)
        built = build(config, origin, weights)
    preprocess = preprocess_of(source, processor)
    if overrides.trained_image_size is not None:
        preprocess = at_size(preprocess, overrides.trained_image_size)
    network = Transformers(
        source,
        f"transformers:{folder.resolve().name}",
        built.model,
        preprocess,
        labels=_labels(source, config),
        known=certain_sizes(weights, overrides, configured=origin.config is not None or Path(origin.base).is_dir()),
        config=config,
        built=built,
    )
    image_size = getattr(config, "image_size", None)
    tables = network.positions(built.model, preprocess.size).tables
    if tables and image_size is not None and preprocess.size != pair(image_size):
        raise SourceError(
            f"{source}: its image processor returns images of {preprocess.size}, its network takes {pair(image_size)}; "
            f"correct {_PROCESSOR}"
        )
    return replace(network.load(weights, overrides), task=_task(source, config))


def configure(source: str, config: Any, overrides: Overrides) -> Any:  # noqa: ANN401 -- transformers'
    """Return a configuration with the user's options and sizes of training.

    Raises:
        SourceError: the configuration has no such option.
    """
    given = check_options(source, overrides.model_args, RESERVED)
    if overrides.trained_image_size is not None:
        height, width = overrides.trained_image_size
        given["image_size"] = height if height == width else [height, width]
    if overrides.trained_window_size is not None:
        given["window_size"] = overrides.trained_window_size
    for option, value in given.items():
        if getattr(config, option, None) is None:
            raise SourceError(f"{source}: its configuration has no {option} to set to {value}")
        setattr(config, option, value)
    return config


@dataclass(frozen=True)
class Transformers(Library):
    """Network of transformers, with the weights already in its module.

    Attributes:
        config: the configuration at the sizes of training.
        built: the module, with transformers' report on loading its weights.
    """

    config: Any = field(kw_only=True)
    built: Built = field(kw_only=True)

    def build(
        self,
        overrides: Overrides,
        trained: nn.Module | None = None,
        classes: int | None = None,  # noqa: ARG002 -- the configuration has it
    ) -> nn.Module:
        """See `Library`."""
        from models.sources.transformers_sizes import build_at

        with quietly(self.source):
            if trained is None:
                return build_at(self.source, auto().from_config, self.config, overrides)
            positions = self.positions(trained, self.preprocess.size)
            return build_at(self.source, type(trained), trained.config, overrides, positions)

    def positions(self, network: nn.Module, image_size: tuple[int, int]) -> Positions:  # noqa: ARG002
        """See `Library`; the configuration has the sizes."""
        from models.sources.transformers_sizes import in_transformers

        return in_transformers(network)

    def read(self, weights: Checkpoint | Pretrained) -> tuple[nn.Module, Contents, int | None]:  # noqa: ARG002
        """See `Library`; transformers has loaded the weights, and its report is checked."""
        check_loading(self.source, self.built, self.advice)
        return self.model, Contents(self.source, {}, {}, self.built.notes), None

    def resize(
        self, trained: nn.Module, classes: int | None, overrides: Overrides, *, sized: bool
    ) -> tuple[nn.Module, tuple[str, ...]]:
        """See `Library`; a module with unknown position tables must support the size itself."""
        if self.positions(trained, self.preprocess.size).tables:
            return super().resize(trained, classes, overrides, sized=sized)
        if overrides.window_size is not None:
            raise SourceError(
                f"{self.source}: transformers cannot resample its weights to another window; leave out --window-size"
            )
        if any("position_embedding" in key for key in trained.state_dict()):
            self.check_known("image size", overrides)  # transformers resamples the table in every forward
        return trained, ()


def _config_of(source: str, config: Any, folder: Path) -> Any:  # noqa: ANN401 -- transformers'
    """Return the configuration in a checkpoint's folder, and check that its architecture is the source's."""
    if not (folder / "config.json").is_file():
        raise SourceError(f"--checkpoint {folder} has no config.json; give a folder that transformers saved, or a file")
    theirs = library().AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
    if theirs.model_type != config.model_type:
        raise SourceError(f"--checkpoint {folder} is a {theirs.model_type}, but {source} is a {config.model_type}")
    return theirs


def _check_classifies(source: str, config: Any) -> None:  # noqa: ANN401 -- transformers'
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING

    if type(config) not in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
        raise SourceError(
            f"{source}: transformers has no image classification for {config.model_type}; give "
            "python:PACKAGE.MODULE:FUNCTION that returns the network with your head"
        )
    classes = MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING[type(config)]
    if isinstance(classes, tuple) and not config.architectures:
        known = ", ".join(kind.__name__ for kind in classes if kind is not None)
        raise SourceError(f'{source}: config.json does not specify which of {known} it is; add "architectures": [name]')


def _check_is_prepared(source: str, folder: Path) -> None:
    """Check that a folder has a preprocessor configuration; for an id on the Hub, transformers checks."""
    if folder.is_dir() and not any((folder / name).is_file() for name in (_PROCESSOR, "processor_config.json")):
        raise SourceError(
            f"{source}: {folder} has no {_PROCESSOR}, the preprocessing of images; save the processor of "
            "training there (processor.save_pretrained), or write one, such as "
            '{"image_processor_type": "ViTImageProcessor", "size": {"height": 224, "width": 224}, "resample": 3, '
            '"do_resize": true, "do_rescale": true, "do_normalize": true, "image_mean": [0.5, 0.5, 0.5], '
            '"image_std": [0.5, 0.5, 0.5]}'
        )


def _task(source: str, config: Any) -> Task | None:  # noqa: ANN401 -- transformers'
    """Return the task that training wrote into the configuration; None if there is none."""
    declared = getattr(config, "problem_type", None)
    if declared is not None and declared not in _TASKS:
        raise SourceError(f"{source}: problem_type is {declared!r}, expected {', '.join(_TASKS)}; correct config.json")
    return None if declared is None else _TASKS[declared]


def _labels(source: str, config: Any) -> tuple[str, ...] | None:  # noqa: ANN401 -- transformers'
    """Return the names of the classes; None for none, and for transformers' placeholders (LABEL_0, …)."""
    if config.id2label is None:  # a configuration may set only the number of classes
        return None
    named = {index: label for index, label in config.id2label.items() if label is not None}
    if sorted(named) != list(range(len(config.id2label))):
        raise SourceError(
            f"{source}: id2label names the classes {', '.join(map(str, sorted(named)))}, expected 0 to "
            f"{len(config.id2label) - 1}; correct config.json"
        )
    labels = tuple(str(named[index]) for index in sorted(named))
    return None if all(label == f"LABEL_{index}" for index, label in enumerate(labels)) else labels
