"""`transformers:<id or local folder>`: a network of Hugging Face transformers.

The folder needs `config.json` and `preprocessor_config.json`. transformers renames keys when it reads a checkpoint, so
it does the reading here too: errors name its module's keys, which may differ from those of an older file.

A checkpoint that is a folder brings its own `config.json`, and its own preparation if it has one.
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
"""Entries of a configuration that are no options of the network, or that are settled by other flags."""

_PARTS_OF_AN_ID = 2
_TASKS: dict[str, Task] = {
    "single_label_classification": "single-label",
    "multi_label_classification": "multi-label",
    "regression": "regression",
}
_PROCESSOR = "preprocessor_config.json"


def load(name: str, weights: Weights, overrides: Overrides) -> Loaded:
    """Build a network as transformers does, and give it its weights.

    Raises:
        SourceError: see `models.sources.load_source`.
    """
    source = f"transformers:{name}"
    folder = Path(name).expanduser()
    if not folder.is_dir() and (
        folder.is_absolute() or name.startswith((".", "~")) or len(folder.parts) > _PARTS_OF_AN_ID
    ):
        raise SourceError(f"{source}: there is no such folder, and it is no id on the Hub, which is owner/name")
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
            prepared = str(folder)  # of an adapter, which may bring no more than this
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
        labels=_labels(config),
        known=certain_sizes(weights, overrides, configured=origin.config is not None or Path(origin.base).is_dir()),
        config=config,
        built=built,
    )
    image_size = getattr(config, "image_size", None)
    tables = network.positions(built.model, preprocess.size).tables
    if tables and image_size is not None and preprocess.size != pair(image_size):
        raise SourceError(
            f"{source}: its image processor yields {preprocess.size}, its network takes {pair(image_size)}; "
            f"correct {_PROCESSOR}"
        )
    return replace(network.load(weights, overrides), task=_task(source, config))


def configure(source: str, config: Any, overrides: Overrides) -> Any:  # noqa: ANN401 -- theirs
    """Return a configuration with the user's options and sizes of training.

    Raises:
        SourceError: it has no such option.
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
    """A network of transformers, whose weights are in its module already.

    Attributes:
        config: at the sizes of training.
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
        """See `Library`; transformers has put the weights into the module, and its report is checked."""
        check_loading(self.source, self.built, self.advice)
        return self.model, Contents(self.source, {}, {}, self.built.notes), None

    def resize(
        self, trained: nn.Module, classes: int | None, overrides: Overrides, *, sized: bool
    ) -> tuple[nn.Module, tuple[str, ...]]:
        """See `Library`; a module whose position tables are not known takes the size by itself, or it does not."""
        if self.positions(trained, self.preprocess.size).tables:
            return super().resize(trained, classes, overrides, sized=sized)
        if overrides.window_size is not None:
            raise SourceError(
                f"{self.source}: transformers does not bring weights to another window; leave out --window-size"
            )
        if any("position_embedding" in key for key in trained.state_dict()):
            self.check_known("image size", overrides)  # transformers resamples it in every forward
        return trained, ()


def _config_of(source: str, config: Any, folder: Path) -> Any:  # noqa: ANN401 -- theirs
    """Return the configuration in a checkpoint's folder, which must be of the source's architecture."""
    if not (folder / "config.json").is_file():
        raise SourceError(f"--checkpoint {folder} has no config.json; give a folder that transformers saved, or a file")
    theirs = library().AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
    if theirs.model_type != config.model_type:
        raise SourceError(f"--checkpoint {folder} holds a {theirs.model_type}, and {source} is a {config.model_type}")
    return theirs


def _check_classifies(source: str, config: Any) -> None:  # noqa: ANN401 -- theirs
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING

    if type(config) not in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
        raise SourceError(
            f"{source}: transformers has no image classification for {config.model_type}; give "
            "python:PACKAGE.MODULE:FUNCTION that returns its features with a head of yours"
        )
    classes = MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING[type(config)]
    if isinstance(classes, tuple) and not config.architectures:
        known = ", ".join(kind.__name__ for kind in classes if kind is not None)
        raise SourceError(f'{source}: config.json does not say which of {known} it is; add "architectures": [name]')


def _check_is_prepared(source: str, folder: Path) -> None:
    """Check that a folder says how its images are prepared; on the Hub, transformers looks."""
    if folder.is_dir() and not any((folder / name).is_file() for name in (_PROCESSOR, "processor_config.json")):
        raise SourceError(
            f"{source}: {folder} has no {_PROCESSOR}, which says how images are prepared; save the processor of "
            "training there (processor.save_pretrained), or write one, such as "
            '{"image_processor_type": "ViTImageProcessor", "size": {"height": 224, "width": 224}, "resample": 3, '
            '"do_resize": true, "do_rescale": true, "do_normalize": true, "image_mean": [0.5, 0.5, 0.5], '
            '"image_std": [0.5, 0.5, 0.5]}'
        )


def _task(source: str, config: Any) -> Task | None:  # noqa: ANN401 -- theirs
    """Return what the outputs are, if the configuration says so; training writes it there."""
    declared = getattr(config, "problem_type", None)
    if declared is not None and declared not in _TASKS:
        raise SourceError(f"{source}: problem_type is {declared!r}, expected {', '.join(_TASKS)}; correct config.json")
    return None if declared is None else _TASKS[declared]


def _labels(config: Any) -> tuple[str, ...] | None:  # noqa: ANN401 -- theirs
    """Return the classes' names; None for the placeholders that transformers writes where there are none."""
    labels = tuple(config.id2label[index] for index in range(config.num_labels))
    return None if all(label == f"LABEL_{index}" for index, label in enumerate(labels)) else labels
