"""What a library knows of a name, and sizes of training that are not certain."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from artifact import Preprocess
from models.sources.base import Loaded, Overrides, SourceError
from models.sources.checkpoints.advice import Advice
from models.sources.checkpoints.buffers import is_computed, without_computed
from models.sources.checkpoints.fit import Misfit, check_fit
from models.sources.checkpoints.keys import State
from models.sources.native import Native, finish
from models.sources.positions import Positions, bring

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

    def finish(
        self,
        network: nn.Module,
        image_size: tuple[int, int],
        encoding: str | None,
        resampled: tuple[str, ...],
        notes: tuple[str, ...],
    ) -> Loaded:
        """Return the module with its weights as a loaded network; see `models.sources.native.Native` and `finish`."""
        native = Native(
            self.source, self.shown, network, self.preprocess, image_size, self.labels, encoding, resampled, notes
        )
        return finish(native)

    def buffers(self) -> State:
        """Return the buffers that the library's module computes from its sizes, under its keys."""
        model = self.model if self.build is None else self.build()
        return {key: tensor for key, tensor in model.named_buffers() if is_computed(key)}


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


def check_loading(found: Found, adopt: Callable[[State], State] = dict) -> None:
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


def load_resized(
    found: Found,
    network: nn.Module,
    state: State,
    positions: tuple[Positions, Positions],
    overrides: Overrides,
    *,
    sized: bool = False,
) -> tuple[str, ...]:
    """Put weights of a library's module into the same module at other sizes; return a sentence for each change.

    Args:
        found: what the library knows.
        network: the module at the sizes wanted, on the CPU.
        state: the weights, of the module at the sizes of training.
        positions: of the module at the sizes of training, and of `network`.
        overrides: the sizes wanted.
        sized: whether the checkpoint itself states its sizes.

    Raises:
        SourceError: a size of training that tables are resampled from is not certain, or a weight does not fit.
    """
    brought, changes = bring(without_computed(state), *positions)
    for change in changes:
        if change.belongs_to is not None and not sized:
            check_known(found, change.belongs_to, overrides)
    check_fit(brought, without_computed(network.state_dict()), f"the checkpoint of {found.source}", _not_resampled)
    network.load_state_dict(brought, strict=False)  # the buffers that it computes are not among them
    return tuple(change.sentence for change in changes)


def _not_resampled(_: Misfit) -> str:
    return "No way is known to resample it for that size; leave out --image-size and --window-size"
