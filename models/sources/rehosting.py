"""From a network that another library built to the same network in ours: which it is, its weights, its size."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from artifact import Preprocess
from models.build import build_network
from models.config import SwinConfig, ViTConfig
from models.sources.base import Checkpoint, Loaded, Overrides, Pretrained, RandomWeights, SourceError, Weights
from models.sources.checkpoints import Contents, read_checkpoint
from models.sources.checkpoints.advice import Advice
from models.sources.checkpoints.buffers import is_computed, without_computed
from models.sources.checkpoints.fit import Misfit, check_fit
from models.sources.checkpoints.keys import fit_keys, with_classes
from models.sources.families import RESIZERS, Family, Rehosted, State, keep_keys
from models.sources.preprocessing import at_size
from models.sources.weights import load_strictly, randomise

HEADS = ("head", "classifier")
"""In the names of what has a row for each class, in every library."""

SIZES = ("image size", "window size")
"""The sizes of training that position tables belong to."""


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
        build: makes the module anew on the CPU, for the buffers that it computes; None if `model` is there already.
        known: which sizes of training are certain, of "image size" and "window size"; the others are the name's.
        notes: what was settled in taking the weights from a checkpoint.
    """

    source: str
    shown: str
    model: nn.Module
    preprocess: Preprocess
    labels: tuple[str, ...] | None
    loading: Mapping[str, Any] | None = None
    build: Callable[[], nn.Module] | None = None
    known: Collection[str] = SIZES
    notes: tuple[str, ...] = ()

    @property
    def advice(self) -> Advice:
        """What to do about weights that do not fit."""
        return Advice(self.source, self.preprocess.size)

    def buffers(self) -> State:
        """Return the buffers that the library's module computes from its sizes, under its keys."""
        model = self.model if self.build is None else self.build()
        return {key: tensor for key, tensor in model.named_buffers() if is_computed(key)}


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


def check_known(found: Found, size: str, overrides: Overrides) -> None:
    """Check that a size of training is certain before position weights are brought from it to another.

    Raises:
        SourceError: it is only what the name has by default.
    """
    if size in found.known:
        return
    flag = f"--trained-{size.replace(' ', '-')}"
    asked = overrides.image_size if size == "image size" else overrides.window_size
    named = found.preprocess.size if size == "image size" else None
    choices = [
        f"{flag} {'x'.join(map(str, sides)) if isinstance(sides, tuple) else sides} {whose}"
        for sides, whose in ((named, f"for that of {found.source}"), (asked, "for that of this export"))
        if sides is not None
    ]
    raise SourceError(
        f"{found.source}: the checkpoint does not state the {size} of training, and its position encoding "
        f"would have to be brought from that to another. Give {flag}: {', '.join(choices)}, or another"
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


def check_loading(found: Found, adopt: Callable[[State], State] = keep_keys) -> None:
    """Check transformers' report on loading weights; `adopt` renames keys to those of its module.

    Raises:
        SourceError: a key was missing or unexpected, or a shape differed; the first few are named.
    """
    assert found.loading is not None
    expected = {key: tuple(tensor.shape) for key, tensor in found.model.state_dict().items()}
    theirs = {key: tuple(there) for key, there, *_ in found.loading["mismatched_keys"]}
    nothing = torch.empty(0)
    extra = without_computed(adopt(dict.fromkeys(found.loading["unexpected_keys"], nothing)))
    missing = set(found.loading["missing_keys"])
    present = {key: theirs.get(key, shape) for key, shape in expected.items() if key not in missing}
    misfit = Misfit(expected, present | dict.fromkeys(extra, ()))
    if misfit:
        raise SourceError(f"the weights do not fit {found.source}; {misfit}. {found.advice(misfit)}")


def _at_sizes(trained: ViTConfig | SwinConfig, overrides: Overrides) -> ViTConfig | SwinConfig:
    if overrides.image_size is None and overrides.window_size is None:
        return trained
    return RESIZERS[trained.architecture].config(trained, overrides)
