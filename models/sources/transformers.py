"""`transformers:<id or local folder>`: a network of Hugging Face transformers, re-hosted where a family takes it.

The folder needs `config.json` and `preprocessor_config.json`. transformers renames keys when it reads a checkpoint, so
it does the reading here too: errors name its module's keys, which may differ from those of an older file.

A checkpoint that is a folder brings its own `config.json`, and its own preparation if it has one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.sources.base import Checkpoint, Loaded, Overrides, Pretrained, RandomWeights, SourceError, Weights
from models.sources.drawing import seeded
from models.sources.families import TRANSFORMERS
from models.sources.native import Native, finish, one_line, other_classes, randomise_native
from models.sources.processors import pair, preprocess_of
from models.sources.rehosting import HEADS, Found, NotRehosted, check_loading, of_the_library, recognise, rehost
from models.sources.weights import read_checkpoint

_PARTS_OF_AN_ID = 2
_PROCESSOR = "preprocessor_config.json"


def load(name: str, weights: Weights, overrides: Overrides) -> Loaded:
    """Build a network as transformers does, and give ours its weights, or return transformers' where ours differs.

    Raises:
        SourceError: see `models.sources.load_source`.
    """
    source = f"transformers:{name}"
    folder = Path(name).expanduser()
    if not folder.is_dir() and (
        folder.is_absolute() or name.startswith((".", "~")) or len(folder.parts) > _PARTS_OF_AN_ID
    ):
        raise SourceError(f"{source}: there is no such folder, and it is no id on the Hub, which is owner/name")
    path = str(folder) if folder.is_dir() else name
    with _quietly(source):
        config = _library().AutoConfig.from_pretrained(path, trust_remote_code=False)
        _check_classifies(source, config)
        prepared = path
        if isinstance(weights, Checkpoint) and weights.path.is_dir():
            config = _config_of(source, config, weights.path)
            prepared = str(weights.path) if (weights.path / _PROCESSOR).is_file() else path
        _check_is_prepared(source, Path(prepared))
        processor = _library().AutoImageProcessor.from_pretrained(prepared, trust_remote_code=False)
        model, info = _build(path, config, weights)
    found = Found(
        source,
        f"transformers:{folder.resolve().name}",
        model,
        preprocess_of(source, processor),
        _labels(config),
        loading=info,
    )
    rehosted = recognise(found, TRANSFORMERS, overrides)
    if isinstance(rehosted, NotRehosted):
        with of_the_library(found, rehosted):
            return _native(found, config, rehosted.reason, weights, overrides)
    image_size = getattr(config, "image_size", None)
    if image_size is not None and found.preprocess.size != pair(image_size):
        raise SourceError(
            f"{source}: its image processor yields {found.preprocess.size}, its network takes {pair(image_size)}; "
            f"correct {_PROCESSOR}"
        )
    return rehost(found, rehosted, weights, overrides)


def _native(found: Found, config: Any, reason: str, weights: Weights, overrides: Overrides) -> Loaded:  # noqa: ANN401
    """Return transformers' module. With weights it is as trained: it takes another size by itself, or it does not.

    Raises:
        SourceError: weights or sizes do not fit.
    """
    size = overrides.image_size or found.preprocess.size
    if isinstance(weights, RandomWeights):
        with _quietly(found.source), seeded(weights.seed):
            network = _auto().from_config(_at_sizes(found.source, config, overrides))
        randomise_native(found.source, network, weights.seed, size)
    else:
        if overrides.window_size is not None:
            raise SourceError(
                f"{found.source}: transformers does not bring weights to another window; leave out --window-size"
            )
        assert found.loading is not None
        check_loading(found.source, found.loading)
        network = found.model
    return finish(Native(found.source, found.shown, network, found.preprocess, size, found.labels, reason))


def _at_sizes(source: str, config: Any, overrides: Overrides) -> Any:  # noqa: ANN401 -- theirs
    if overrides.image_size is not None and getattr(config, "image_size", None) is not None:
        height, width = overrides.image_size
        config.image_size = height if height == width else (height, width)
    if overrides.window_size is not None:
        if not isinstance(getattr(config, "window_size", None), int):
            raise SourceError(f"{source}: its configuration has no window_size; leave out --window-size")
        config.window_size = overrides.window_size
    return config


def _build(name: str, config: Any, weights: Weights) -> tuple[nn.Module, dict[str, Any] | None]:  # noqa: ANN401 -- theirs
    """Return transformers' module and what it says of loading its weights; without weights, on the meta device."""
    strictly: dict[str, Any] = {
        "output_loading_info": True,
        "ignore_mismatched_sizes": True,  # so that they are reported to us
        "dtype": torch.float32,
        "trust_remote_code": False,
    }
    match weights:
        case Checkpoint(path) if path.is_dir():
            model, info = _auto().from_pretrained(str(path), config=config, use_safetensors=True, **strictly)
        case Checkpoint(path):
            state = read_checkpoint(path)[0]
            with torch.device("meta"):
                model = _auto().from_config(config)
            classes = _classes(state, model)
            if classes is not None:
                config.num_labels = classes
            model, info = type(model).from_pretrained(None, config=config, state_dict=state, **strictly)
        case Pretrained():
            model, info = _auto().from_pretrained(name, **strictly)
        case _:
            with torch.device("meta"):
                model, info = _auto().from_config(config), None
    return model, info


def _classes(state: dict[str, Tensor], model: Any) -> int | None:  # noqa: ANN401 -- theirs
    heads = {
        key: tensor
        for key, tensor in model.state_dict().items()
        if any(head in key for head in HEADS) and tensor.shape[:1] == (model.config.num_labels,)
    }
    return other_classes(state, heads, model.config.num_labels)


def _config_of(source: str, config: Any, folder: Path) -> Any:  # noqa: ANN401 -- theirs
    """Return the configuration in a checkpoint's folder, which must be of the source's architecture."""
    if not (folder / "config.json").is_file():
        raise SourceError(f"--checkpoint {folder} has no config.json; give a folder that transformers saved, or a file")
    theirs = _library().AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
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
    """Check that a folder says how its images are prepared; on the Hub, transformers looks.

    Raises:
        SourceError: it does not; the message shows what to write.
    """
    if folder.is_dir() and not any((folder / name).is_file() for name in (_PROCESSOR, "processor_config.json")):
        raise SourceError(
            f"{source}: {folder} has no {_PROCESSOR}, which says how images are prepared; save the processor of "
            "training there (processor.save_pretrained), or write one, such as "
            '{"image_processor_type": "ViTImageProcessor", "size": {"height": 224, "width": 224}, "resample": 3, '
            '"do_resize": true, "do_rescale": true, "do_normalize": true, "image_mean": [0.5, 0.5, 0.5], '
            '"image_std": [0.5, 0.5, 0.5]}'
        )


def _auto() -> Any:  # noqa: ANN401 -- theirs
    return _library().AutoModelForImageClassification


def _library() -> Any:  # noqa: ANN401 -- half of it has no types
    import transformers  # takes seconds: only when asked for

    return transformers


@contextmanager
def _quietly(source: str) -> Iterator[None]:
    """Keep transformers from printing what an error here says, and say in one line what it raises.

    Raises:
        SourceError: transformers cannot find or build it.
    """
    logging = _library().utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    except SourceError:
        raise
    except Exception as error:
        raise SourceError(f"{source}: transformers cannot load it: {one_line(error)}") from error
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _labels(config: Any) -> tuple[str, ...] | None:  # noqa: ANN401 -- theirs
    """Return the classes' names; None for the placeholders that transformers writes where there are none."""
    labels = tuple(config.id2label[index] for index in range(config.num_labels))
    return None if all(label == f"LABEL_{index}" for index, label in enumerate(labels)) else labels
