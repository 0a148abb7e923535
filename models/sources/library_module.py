"""Loading of weights into a library's or the user's own module, and one run of it to check its output."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from artifact import Preprocess
from models.sources.base import Loaded, SourceError, one_line
from models.sources.checkpoints import Contents
from models.sources.checkpoints.buffers import without_computed
from models.sources.checkpoints.fit import Advise, check_fit
from models.sources.checkpoints.keys import is_counter
from models.sources.drawing import draw, rehearsal_images, settling, with_statistics
from models.sources.preprocessing import at_size
from models.sources.twin import share_tensors

ENCODING = "native"
"""`Loaded.encoding` of a module with a position encoding that posbake has no name for."""


class LogitsOf(nn.Module):
    """Wrapper that returns the logits of a network with an output object (transformers)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images [B, 3, height, width] to logits [B, classes]."""
        logits: Tensor = self.network(images).logits
        return logits


class GreyInput(nn.Module):
    """Wrapper that converts RGB to grey for a network of grey images: ITU-R 601 luma, unrounded (Pillow's mode L).

    The weights add up to 1, so the result is the same whether images are normalised before or after the conversion, if
    all channels have the same mean and std.
    """

    luma: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("luma", torch.tensor([0.299, 0.587, 0.114]).reshape(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images [B, 3, height, width] to the network's output for [B, 1, height, width]."""
        out: Tensor = self.network((images * self.luma).sum(1, keepdim=True))
        return out


def without_adapters(network: nn.Module) -> nn.Module:
    """Return the library's or the user's own module inside the wrappers of this file."""
    while isinstance(network, LogitsOf | GreyInput):
        network = network.network
    return network


def finish(
    source: str,
    shown: str,
    network: nn.Module,
    preprocess: Preprocess,
    image_size: tuple[int, int],
    labels: tuple[str, ...] | None = None,
    encoding: str | None = None,
    resampled: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
) -> Loaded:
    """Return a module with its weights as a loaded network, after one run on two black images.

    Args:
        source: `kind:name`, for errors.
        shown: the same without directories.
        network: the module.
        preprocess: preprocessing of its images at the size of training.
        image_size: (height, width) of the network's input in pixels.
        labels: labels of its classes, if known; dropped if the run shows another number of classes.
        encoding: name of its position encoding, if it has one.
        resampled: see `Loaded`.
        notes: see `Loaded`.

    Raises:
        SourceError: the module does not run at that size, or returns something other than logits.
    """
    network = network.eval()
    # A copy, because some modules cache the biases of their first run in eval mode, which would outlive their weights.
    output = _run(source, share_tensors(network), torch.zeros(2, 3, *image_size))
    if isinstance(getattr(output, "logits", None), Tensor):
        network, output = LogitsOf(network).eval(), output.logits  # type: ignore[attr-defined]
    architecture = type(without_adapters(network)).__name__
    if not isinstance(output, Tensor) or not output.is_floating_point() or output.ndim != 2 or len(output) != 2:
        raise SourceError(
            f"{source}: {architecture} returns {_described(output)} for 2 images instead of float logits [2, classes]; "
            "give python:PACKAGE.MODULE:FUNCTION with a wrapper that returns the logits"
        )
    classes = output.shape[1]
    return Loaded(
        network=network,
        name=shown,
        architecture=architecture,
        encoding=encoding or ENCODING,
        image_size=image_size,
        num_classes=classes,
        preprocess=at_size(preprocess, image_size),
        labels=labels if labels is not None and len(labels) == classes else None,
        model=None,
        variant=None,
        accuracy=None,
        resampled=resampled,
        notes=notes,
    )


def fill(network: nn.Module, contents: Contents, advise: Advise, *, recomputes: bool = True) -> None:
    """Load weights, under the network's keys, into the network; counters of training steps may be absent.

    Args:
        network: the module, on the CPU.
        contents: the weights, see `models.sources.checkpoints.keys.fit_keys`.
        advise: returns advice if they do not fit.
        recomputes: whether the module computes the buffers named in `models.sources.checkpoints.buffers` itself;
            False loads them like weights.

    Raises:
        SourceError: see `check_fit` of `models.sources.checkpoints`.
    """
    expected = without_computed(network.state_dict()) if recomputes else network.state_dict()
    complete = {key: tensor for key, tensor in expected.items() if is_counter(key)} | contents.state
    check_fit(complete, expected, contents.origin, advise)
    network.load_state_dict(complete, strict=not recomputes)


def check_resampled(source: str, state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Check that weights fit the module at other sizes than those of training, after their tables were resampled.

    Raises:
        SourceError: a weight has another shape there and cannot be resampled.
    """
    remedy = "It cannot be resampled to that size; leave out --image-size and --window-size"
    check_fit(state, expected, f"the checkpoint of {source}", lambda _: remedy)


def randomise_module(source: str, network: nn.Module, seed: int, image_size: tuple[int, int]) -> None:
    """Draw the weights of a module built under `seeded`, and set its running statistics from its activations.

    Raises:
        SourceError: the module does not run at that size.
    """
    draw(network, seed)
    if not with_statistics(network):
        return
    rehearsal = share_tensors(network).eval()  # a copy that shares the running statistics
    with settling(rehearsal, seed):
        _run(source, rehearsal, rehearsal_images(image_size, seed))


def _run(source: str, network: nn.Module, images: Tensor) -> object:
    try:
        with torch.no_grad():
            return network(images)
    except Exception as error:
        height, width = images.shape[2:]
        raise SourceError(
            f"{source}: {type(without_adapters(network)).__name__} does not run on normalised images of "
            f"{height}×{width}: {one_line(error)}{_of_other_channels(network, images)}"
        ) from error


def _of_other_channels(network: nn.Module, images: Tensor) -> str:
    """Return advice on a network that fails on three channels and runs on another number; otherwise an empty string."""
    first = next((layer.in_channels for layer in network.modules() if isinstance(layer, nn.Conv2d)), 3)
    if first == 3:
        return ""
    try:
        with torch.no_grad():
            network(images[:, :1].expand(-1, first, -1, -1))
    except Exception:  # noqa: BLE001 -- the number of channels is not the cause
        return ""
    return (
        f". It takes {first} channel{'s' * (first > 1)}, but posbake's images are RGB: give "
        "python:PATH/FILE.py:FUNCTION that returns a module which converts RGB to its channels"
        + (", or a preprocessing with one mean and one std, for grey" if first == 1 else "")
    )


def _described(output: object) -> str:
    if isinstance(output, Tensor):
        return f"{str(output.dtype).removeprefix('torch.')} {list(output.shape)}"
    if isinstance(output, Mapping):
        return f"{type(output).__name__} of {', '.join(f'{key} {_described(value)}' for key, value in output.items())}"
    if isinstance(output, Sequence) and not isinstance(output, str):
        return f"{type(output).__name__} of {', '.join(_described(value) for value in output)}"
    return type(output).__name__
