"""Sources of networks by the prefix before the colon. A new library is a file and a line in `SOURCES`."""

from collections.abc import Callable

from models.sources import cream, posbake, python, timm, torchvision, transformers
from models.sources.base import Checkpoint, Loaded, Overrides, Pretrained, RandomWeights, SourceError, Weights

SOURCES: dict[str, Callable[[str, Weights, Overrides], Loaded]] = {
    "cream": cream.load,
    "posbake": posbake.load,
    "python": python.load,
    "timm": timm.load,
    "torchvision": torchvision.load,
    "transformers": transformers.load,
}
OF_LIBRARIES = ("timm", "torchvision", "transformers")
"""Sources that build networks by a library's constructors, with their options."""

CUSTOM = "cream:custom"
"""Source that reads its configuration from `--config`."""


def load_source(source: str, weights: Weights, overrides: Overrides) -> Loaded:
    """Return the network named by `source` (`kind:name`), with its weights and in eval mode.

    Raises:
        SourceError: an unknown source, sizes or weights that do not fit, an unreadable file.
    """
    kind, colon, name = source.partition(":")
    if not colon or not name or kind not in SOURCES:
        known = ", ".join(f"{known}:…" for known in SOURCES)
        raise SourceError(f"unknown source {source!r}; expected {known}")
    trained = overrides.trained_image_size or overrides.trained_window_size
    if (trained or overrides.model_args) and kind not in OF_LIBRARIES:
        where = "set the sizes in the function" if kind == "python" else "write them in the configuration"
        raise SourceError(
            f"{source}: --trained-image-size, --trained-window-size and --model-arg are for networks of "
            f"{', '.join(OF_LIBRARIES)}; {where}"
        )
    if trained and not isinstance(weights, Checkpoint):
        raise SourceError(
            f"{source}: --trained-image-size and --trained-window-size describe a --checkpoint; give --image-size "
            "or --window-size for the sizes of the export"
        )
    if overrides.config is not None and source != CUSTOM:
        raise SourceError(f"--config is for {CUSTOM} only; {source} has a configuration of its own")
    return SOURCES[kind](name, weights, overrides)


__all__ = [
    "SOURCES",
    "Checkpoint",
    "Loaded",
    "Overrides",
    "Pretrained",
    "RandomWeights",
    "SourceError",
    "Weights",
    "load_source",
]
