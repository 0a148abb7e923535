"""From a network that another library built to the same network in ours: which it is, its weights, its size."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from models.build import build_network
from models.config import SwinConfig, ViTConfig
from models.sources.base import Checkpoint, Loaded, Overrides, Pretrained, RandomWeights, SourceError, Weights
from models.sources.checkpoints import Contents, read_checkpoint
from models.sources.checkpoints.buffers import without_computed
from models.sources.checkpoints.fit import check_fit
from models.sources.checkpoints.keys import fit_keys, with_classes
from models.sources.families import RESIZERS, Family, Rehosted
from models.sources.library import HEADS, Found, check_known, check_loading
from models.sources.preprocessing import at_size
from models.sources.weights import load_strictly, randomise


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
    trained, state, contents = rehosted.config, None, None
    if not isinstance(weights, RandomWeights):
        contents = _library_state(found, rehosted, weights)
        state = rehosted.map_state(contents.state)
        trained = trained.model_copy(update={"num_classes": len(state["head.bias"])})
    wanted = _at_sizes(trained, overrides)
    network = build_network(wanted)
    resampled: tuple[str, ...] = ()
    if isinstance(weights, RandomWeights):
        randomise(network, weights.seed)
    elif state is not None:
        if wanted != trained:
            resizer = RESIZERS[trained.architecture]
            state, resampled = resizer.state(state, trained, wanted)
            size = resizer.belongs_to(trained)
            if resampled and size is not None and not (contents is not None and contents.sized):
                check_known(found, size, overrides)
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
        notes=found.notes if contents is None else contents.notes,
    )


def _library_state(found: Found, rehosted: Rehosted, weights: Checkpoint | Pretrained) -> Contents:
    """Return weights under the library's keys, every one of them there."""
    expected = without_computed(rehosted.adopt(found.model.state_dict()))
    if found.loading is not None:
        check_loading(found, rehosted.adopt)
    if found.loading is not None or isinstance(weights, Pretrained):
        return Contents(found.shown, expected, {}, found.notes)
    heads = [key for key in expected if any(head in key for head in HEADS)]
    contents = fit_keys(
        read_checkpoint(weights), expected, found.advice, adopt=rehosted.adopt, buffers=found.buffers, heads=heads
    )
    check_fit(contents.state, with_classes(expected, contents.state, heads), contents.origin, found.advice)
    return contents


def _at_sizes(trained: ViTConfig | SwinConfig, overrides: Overrides) -> ViTConfig | SwinConfig:
    if overrides.image_size is None and overrides.window_size is None:
        return trained
    return RESIZERS[trained.architecture].config(trained, overrides)
