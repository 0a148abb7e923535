"""`transformers:<id or local folder>`: a network of Hugging Face transformers, re-hosted.

The folder needs `config.json` and `preprocessor_config.json`. transformers renames keys when it reads a checkpoint, so
it does the reading here too: errors name its module's keys, which may differ from those of an older file.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from artifact import Preprocess
from models.sources.base import Checkpoint, Loaded, Overrides, Pretrained, SourceError, Weights
from models.sources.families import TRANSFORMERS
from models.sources.rehosting import Found, rehost
from models.sources.weights import read_checkpoint

INTERPOLATIONS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""By the numbers that Pillow gave them, which image processors use."""

_PARTS_OF_AN_ID = 2


def load(name: str, weights: Weights, overrides: Overrides) -> Loaded:
    """Build a network as transformers does, and give ours its weights.

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
        processor = _library().AutoImageProcessor.from_pretrained(path, trust_remote_code=False)
        model, info = _build(path, config, weights)
    preprocess, image_size = _preprocess(source, processor), getattr(config, "image_size", None)
    if image_size is not None and preprocess.size != _pair(image_size):
        raise SourceError(
            f"{source}: its image processor yields {preprocess.size}, its network takes {_pair(image_size)}; "
            "correct preprocessor_config.json"
        )
    found = Found(
        source,
        f"transformers:{folder.resolve().name}",
        model,
        preprocess,
        _labels(config),
        loading=info,
    )
    return rehost(found, TRANSFORMERS, weights, overrides)


def _build(name: str, config: Any, weights: Weights) -> tuple[nn.Module, dict[str, Any] | None]:  # noqa: ANN401 -- theirs
    """Return transformers' module and what it says of loading its weights; without weights, on the meta device."""
    auto = _library().AutoModelForImageClassification
    strictly: dict[str, Any] = {
        "output_loading_info": True,
        "ignore_mismatched_sizes": True,  # so that they are reported to us
        "dtype": torch.float32,
        "trust_remote_code": False,
    }
    match weights:
        case Checkpoint(path):
            with torch.device("meta"):
                kind = type(auto.from_config(config))
            model, info = kind.from_pretrained(None, config=config, state_dict=read_checkpoint(path)[0], **strictly)
        case Pretrained():
            model, info = auto.from_pretrained(name, **strictly)
        case _:
            with torch.device("meta"):
                model, info = auto.from_config(config), None
    return model, info


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
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise SourceError(f"{source}: transformers cannot load it: {str(error).partition(chr(10))[0]}") from error
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _preprocess(source: str, processor: Any) -> Preprocess:  # noqa: ANN401 -- theirs
    does = {name for name in ("do_resize", "do_rescale", "do_normalize") if getattr(processor, name, False)}
    size, interpolation = processor.size, INTERPOLATIONS.get(int(processor.resample))
    crop = processor.crop_size if getattr(processor, "do_center_crop", False) else None
    resize = size.shortest_edge or ((size.height, size.width) if size.height and size.width else None)
    if len(does) < 3 or abs(processor.rescale_factor * 255 - 1) > 1e-6 or interpolation is None or resize is None:
        raise SourceError(f"{source}: its image processor does not resize, divide by 255 and normalise as is done here")
    return Preprocess.model_validate(
        {
            "resize": resize,
            "crop": None if crop is None else (crop.height, crop.width),
            "interpolation": interpolation,
            "mean": tuple(processor.image_mean),
            "std": tuple(processor.image_std),
        }
    )


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _labels(config: Any) -> tuple[str, ...] | None:  # noqa: ANN401 -- theirs
    """Return the classes' names; None for the placeholders that transformers writes where there are none."""
    labels = tuple(config.id2label[index] for index in range(config.num_labels))
    return None if all(label == f"LABEL_{index}" for index, label in enumerate(labels)) else labels
