"""A library's own module as it is: what it returns is looked at, then handed on under the names of this project."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from artifact import Preprocess
from models.sources.base import Loaded, SourceError
from models.sources.drawing import draw, rehearsal_images, settling, with_statistics
from models.sources.dtypes import describe_other_types
from models.sources.preprocessing import at_size
from models.sources.weights import check_fit, first_few

ENCODING = "native"
"""What `Loaded.encoding` says of a module whose position encoding is its own."""

OWN_FUNCTION = "give python:PACKAGE.MODULE:FUNCTION that returns a module which does"


@dataclass(frozen=True)
class Native:
    """A library's module with its weights, and what is known of it.

    Attributes:
        source: `kind:name`, for errors.
        shown: the same without directories.
        network: the module, in eval mode.
        preprocess: how its images are prepared, at the size of training.
        image_size: (height, width) in pixels that it shall take.
        labels: of its classes, if they are known; dropped where there are as many classes as of another task.
        reason: why it is not re-hosted, one clause.
        resampled: see `Loaded`.
    """

    source: str
    shown: str
    network: nn.Module
    preprocess: Preprocess
    image_size: tuple[int, int]
    labels: tuple[str, ...] | None
    reason: str
    resampled: tuple[str, ...] = ()


class LogitsOf(nn.Module):
    """The logits alone of a network whose output is an object that has them (transformers)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images [B, 3, height, width] to logits [B, classes]."""
        logits: Tensor = self.network(images).logits
        return logits


def finish(native: Native) -> Loaded:
    """Return the module as a loaded network, after one run on two black images that shows its number of classes.

    Raises:
        SourceError: it does not run at that size, or returns something other than logits.
    """
    network = native.network.eval()
    # A copy, because some modules keep the biases of their first run in eval mode, which would outlive their weights.
    output = _run(native.source, copy.deepcopy(network), torch.zeros(2, 3, *native.image_size))
    if isinstance(getattr(output, "logits", None), Tensor):
        network, output = LogitsOf(network).eval(), output.logits  # type: ignore[attr-defined]
    if not isinstance(output, Tensor) or not output.is_floating_point() or output.ndim != 2 or len(output) != 2:
        raise SourceError(
            f"{native.source}: {type(native.network).__name__} returns {_described(output)} for 2 images, "
            f"where float logits [2, classes] are needed; {OWN_FUNCTION}"
        )
    classes = output.shape[1]
    return Loaded(
        network=network,
        name=native.shown,
        architecture=type(native.network).__name__,
        encoding=ENCODING,
        image_size=native.image_size,
        num_classes=classes,
        preprocess=resized(native.preprocess, native.image_size),
        labels=native.labels if native.labels is not None and len(native.labels) == classes else None,
        model=None,
        variant=None,
        accuracy=None,
        resampled=native.resampled,
        not_rehosted=native.reason,
    )


def resized(preprocess: Preprocess, size: tuple[int, int]) -> Preprocess:
    """Return the preparation for images of `size`; the same one if that is its size already."""
    return preprocess if preprocess.size == size else at_size(preprocess, size)


def load_native(network: nn.Module, state: Mapping[str, Tensor], origin: object, advice: str) -> None:
    """Put every tensor of `state` into a library's module, whose counters of training steps may be absent.

    Raises:
        SourceError: see `models.sources.weights.check_fit`.
    """
    expected = network.state_dict()
    counters = {key: tensor for key, tensor in expected.items() if key.endswith("num_batches_tracked")}
    complete = counters | dict(state)
    check_fit(complete, expected, str(origin), advice)
    network.load_state_dict(complete)


def other_classes(state: Mapping[str, Tensor], heads: Mapping[str, Tensor], usual: int) -> int | None:
    """Return the number of classes of a checkpoint where it is not the `usual` one; None where it is, or is unclear.

    Args:
        state: the checkpoint, under the network's keys.
        heads: the network's tensors that have a row for each class.
        usual: how many classes the network has.
    """
    found = {
        len(state[key])
        for key, tensor in heads.items()
        if key in state and state[key].ndim == tensor.ndim > 0 and state[key].shape[1:] == tensor.shape[1:]
    }
    return found.pop() if len(found) == 1 and found != {usual} else None


def changed_shapes(before: Mapping[str, Tensor], after: Mapping[str, Tensor], library: str) -> tuple[str, ...]:
    """Return a sentence on the tensors that have another shape than before; nothing if none has."""
    changed = [
        f"{key} from {list(before[key].shape)} to {list(tensor.shape)}"
        for key, tensor in after.items()
        if key in before and before[key].shape != tensor.shape
    ]
    return (f"by {library}: {first_few(changed)}",) if changed else ()


def randomise_native(source: str, network: nn.Module, seed: int, image_size: tuple[int, int]) -> None:
    """Draw the weights of a library's module, built under `seeded`, and its running statistics from what it computes.

    Raises:
        SourceError: it does not run at that size.
    """
    draw(network, seed)
    if not with_statistics(network):
        return
    rehearsal = copy.deepcopy(network).eval()
    with settling(rehearsal, seed):
        _run(source, rehearsal, rehearsal_images(image_size, seed))
    network.load_state_dict(rehearsal.state_dict())


def _run(source: str, network: nn.Module, images: Tensor) -> object:
    try:
        with torch.no_grad():
            return network(images)
    except Exception as error:
        height, width = images.shape[2:]
        raise SourceError(
            f"{source}: {type(network).__name__} does not run on normalised images of {height}×{width}: "
            f"{one_line(error)}{describe_other_types(network)}"
        ) from error


def one_line(error: Exception) -> str:
    """Return the kind of an exception and the first line of what it says."""
    message = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _described(output: object) -> str:
    if isinstance(output, Tensor):
        return f"{str(output.dtype).removeprefix('torch.')} {list(output.shape)}"
    if isinstance(output, Mapping):
        return f"{type(output).__name__} of {', '.join(f'{key} {_described(value)}' for key, value in output.items())}"
    if isinstance(output, Sequence) and not isinstance(output, str):
        return f"{type(output).__name__} of {', '.join(_described(value) for value in output)}"
    return type(output).__name__
