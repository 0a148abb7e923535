"""From a network that another library built to the same network in ours: which it is, its weights, its size."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from artifact import Preprocess
from models.build import build_network
from models.config import SwinConfig, ViTConfig
from models.sources.base import Checkpoint, Loaded, Overrides, Pretrained, RandomWeights, SourceError, Weights
from models.sources.families import RESIZERS, Family, Rehosted, State, keep_keys
from models.sources.preprocessing import at_size
from models.sources.weights import check_fit, first_few, load_strictly, randomise, read_checkpoint

HEADS = ("head", "classifier")
"""In the names of what has a row for each class, in every library."""


@dataclass(frozen=True)
class Found:
    """What a library knows of a name.

    Attributes:
        source: `kind:name`, for errors.
        shown: the same without directories.
        model: the library's module, with its weights for `Pretrained`; else it may be on the meta device.
        preprocess: how its images are prepared.
        labels: of its classes, if the library knows them.
        loading: if the library itself put the weights into the module, the keys it found missing, unexpected or of
            another shape, in its words; then a checkpoint is not read again.
    """

    source: str
    shown: str
    model: nn.Module
    preprocess: Preprocess
    labels: tuple[str, ...] | None
    loading: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class NotRehosted:
    """No family takes a network.

    Attributes:
        reason: why, one clause.
        of_sizes: whether it is for the sizes alone: ours has none that the patches, the windows or the merging do not
            divide; the library may pad.
    """

    reason: str
    of_sizes: bool = False


def recognise(found: Found, families: Iterable[Family], overrides: Overrides) -> Rehosted | NotRehosted:
    """Return what the library's network is in ours, or why it is nothing there, at the sizes asked for."""
    for family in families:
        try:
            rehosted = family(found.model, found.preprocess.size)
        except SourceError as error:
            return NotRehosted(str(error))
        if rehosted is not None:
            return _if_it_has_the_sizes(rehosted, overrides)
    return NotRehosted(f"no family here knows {type(found.model).__name__}")


def _if_it_has_the_sizes(rehosted: Rehosted, overrides: Overrides) -> Rehosted | NotRehosted:
    try:
        wanted = _at_sizes(rehosted.config, overrides)
        with torch.device("meta"):
            build_network(wanted)
    except (ValueError, SourceError) as error:
        return NotRehosted(str(error), of_sizes=True)
    return rehosted


@contextmanager
def of_the_library(found: Found, not_rehosted: NotRehosted) -> Iterator[None]:
    """Say beside what the library's own module fails with that ours does not have the size either.

    Raises:
        SourceError: the library's module cannot be loaded or run at the sizes.
    """
    try:
        yield
    except SourceError as error:
        if not not_rehosted.of_sizes:
            raise
        raise SourceError(f"{error}. Nor is {found.source} re-hosted at this size: {not_rehosted.reason}") from error


def rehost(found: Found, rehosted: Rehosted, weights: Weights, overrides: Overrides) -> Loaded:
    """Return our network for the library's.

    A checkpoint may have another number of classes than the name stands for: it was trained for another task.

    Raises:
        SourceError: the weights or sizes do not fit.
    """
    trained, state = rehosted.config, None
    if not isinstance(weights, RandomWeights):
        state = rehosted.map_state(_library_state(found, rehosted, weights))
        trained = trained.model_copy(update={"num_classes": len(state["head.bias"])})
    wanted = _at_sizes(trained, overrides)
    network = build_network(wanted)
    resampled: tuple[str, ...] = ()
    if isinstance(weights, RandomWeights):
        randomise(network, weights.seed)
    elif state is not None:
        if wanted != trained:
            state, resampled = RESIZERS[trained.architecture].state(state, trained, wanted)
        load_strictly(network, state, found.source)
    fits = found.labels is not None and len(found.labels) == wanted.num_classes
    return Loaded(
        network=network.eval(),
        name=found.shown,
        architecture=wanted.architecture,
        encoding=wanted.encoding,
        image_size=wanted.image_size,
        num_classes=wanted.num_classes,
        preprocess=at_size(found.preprocess, wanted.image_size),
        labels=found.labels if fits else None,
        model=None,
        variant=None,
        accuracy=None,
        resampled=resampled,
    )


def _library_state(found: Found, rehosted: Rehosted, weights: Checkpoint | Pretrained) -> State:
    """Return weights under the library's keys, every one of them there."""
    expected = rehosted.adopt(found.model.state_dict())
    if found.loading is not None:
        check_loading(found.source, found.loading, rehosted.adopt)
    if found.loading is not None or isinstance(weights, Pretrained):
        return expected
    state = rehosted.adopt(read_checkpoint(weights.path)[0])
    other_task = {
        key: tensor
        for key, tensor in state.items()
        if any(head in key for head in HEADS) and key in expected and tensor.shape[1:] == expected[key].shape[1:]
    }
    advice = f"Check that {found.source} is its architecture at the size of its training; --image-size changes it later"
    check_fit(state, expected | other_task, weights.path, advice)
    return state


def check_loading(source: str, loading: Mapping[str, Any], adopt: Callable[[State], State] = keep_keys) -> None:
    """Check what transformers says of loading weights; `adopt` drops keys that need not be there.

    Raises:
        SourceError: a key was missing or unexpected, or a shape differed; the first few are named.
    """
    nothing = torch.empty(0)
    keys = {
        "missing": sorted(loading["missing_keys"]),
        "unexpected": sorted(adopt(dict.fromkeys(loading["unexpected_keys"], nothing))),
        "of another shape": sorted(key for key, *_ in loading["mismatched_keys"]),
    }
    wrong = "; ".join(f"{what}: {first_few(found)}" for what, found in keys.items() if found)
    if wrong:
        raise SourceError(f"the weights do not fit {source}; {wrong}")


def _at_sizes(trained: ViTConfig | SwinConfig, overrides: Overrides) -> ViTConfig | SwinConfig:
    if overrides.image_size is None and overrides.window_size is None:
        return trained
    return RESIZERS[trained.architecture].config(trained, overrides)
