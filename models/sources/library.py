"""Networks of timm, torchvision and transformers: loading from a name, weights and sizes."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from artifact import Preprocess
from models.sources.base import Checkpoint, Loaded, Overrides, Pretrained, RandomWeights, SourceError, Weights
from models.sources.checkpoints import Contents, read_checkpoint
from models.sources.checkpoints.advice import Advice
from models.sources.checkpoints.buffers import without_computed
from models.sources.checkpoints.keys import State, fit_keys
from models.sources.drawing import seeded
from models.sources.library_module import check_resampled, fill, finish, randomise_module
from models.sources.positions import Positions, bring
from models.sources.undrawn import UndrawnParameters

SIZES = ("image size", "window size")
"""Sizes of training that position tables depend on."""

AS_TRAINED = Overrides()


@dataclass(frozen=True)
class Library(ABC):
    """Network of a library, by its name.

    Attributes:
        source: `kind:name`, for errors.
        shown: the same without directories.
        model: the library's module, with its weights for `Pretrained`; otherwise it may be on the meta device.
        preprocess: preprocessing of its images.
        labels: labels of its classes, if the library knows them.
        known: entries of `SIZES` that are certain; the others are defaults of the name.
    """

    source: str
    shown: str
    model: nn.Module
    preprocess: Preprocess
    labels: tuple[str, ...] | None = None
    known: Collection[str] = SIZES

    @abstractmethod
    def build(self, overrides: Overrides, trained: nn.Module | None = None, classes: int | None = None) -> nn.Module:
        """Build the module on the CPU.

        Args:
            overrides: image and window size wanted; None keeps that of training.
            trained: the module at the sizes of training, which provides the weights; None for random weights.
            classes: number of classes; None keeps the default of the name.

        Raises:
            SourceError: the network cannot be built at that size.
        """

    @abstractmethod
    def positions(self, network: nn.Module, image_size: tuple[int, int]) -> Positions:
        """Return the position encoding of a module for images of `image_size` (height, width) in pixels."""

    def adopt(self, state: State, origin: object) -> State:  # noqa: ARG002 -- for subclasses
        """Convert other published keys of a checkpoint to the keys of the library's module."""
        return state

    def heads(self) -> State:
        """Return the tensors of the module with a row for each class, by key."""
        return {}

    @property
    def advice(self) -> Advice:
        """Advice on weights that do not fit."""
        return Advice(self.source, self.preprocess.size)

    def load(self, weights: Weights, overrides: Overrides) -> Loaded:
        """Return the module with its weights, at the size of training or another.

        Raises:
            SourceError: weights or sizes do not fit.
        """
        size = overrides.image_size or self.preprocess.size
        resized = size != self.preprocess.size or overrides.window_size is not None
        resampled: tuple[str, ...] = ()
        notes: tuple[str, ...] = ()
        if isinstance(weights, RandomWeights):
            with seeded(weights.seed):
                network = self.build(overrides)
            randomise_module(self.source, network, weights.seed, size)
        else:
            network, contents, classes = self.read(weights)
            notes = contents.notes
            if resized:
                network, resampled = self.resize(network, classes, overrides, sized=contents.sized)
        encoding = self.positions(network, size).encoding
        return finish(self.source, self.shown, network, self.preprocess, size, self.labels, encoding, resampled, notes)

    def read(self, weights: Checkpoint | Pretrained) -> tuple[nn.Module, Contents, int | None]:
        """Return the module with its weights at the sizes of training, the checkpoint's contents and number of classes.

        Raises:
            SourceError: the weights do not fit.
        """
        if isinstance(weights, Pretrained):
            return self.model, Contents(self.source, {}, {}), None
        contents = read_checkpoint(weights)
        expected, heads = without_computed(self.model.state_dict()), self.heads()
        fitted = fit_keys(
            contents,
            expected,
            self.advice,
            adopt=lambda state: self.adopt(state, contents.origin),
            buffers=lambda: dict(self.build(AS_TRAINED).named_buffers()),
            heads=heads,
        )
        classes = classes_in(fitted.state, heads)
        with UndrawnParameters():
            network = self.build(AS_TRAINED, classes=classes)
        fill(network, fitted, self.advice)
        return network, fitted, classes

    def resize(
        self, trained: nn.Module, classes: int | None, overrides: Overrides, *, sized: bool
    ) -> tuple[nn.Module, tuple[str, ...]]:
        """Return the module at other sizes than those of training, and a sentence for each table that was resampled.

        Args:
            trained: the module at the sizes of training.
            classes: its number of classes, if not the default of the name.
            overrides: the requested sizes.
            sized: whether the checkpoint itself determines the sizes of training.

        Raises:
            SourceError: tables would be resampled from an uncertain size of training, or a weight does not fit.
        """
        with UndrawnParameters():
            network = self.build(overrides, trained, classes)
        size = overrides.image_size or self.preprocess.size
        state = without_computed(trained.state_dict())
        old, new = self.positions(trained, self.preprocess.size), self.positions(network, size)
        brought, changes = bring(state, old, new)
        for belongs_to in changes.values():
            if belongs_to is not None and not sized:
                self.check_known(belongs_to, overrides)
        check_resampled(self.source, brought, without_computed(network.state_dict()))
        network.load_state_dict(brought, strict=False)  # computed buffers are not in the state
        return network, tuple(changes)

    def check_known(self, size: str, overrides: Overrides) -> None:
        """Check that a size of training is certain before position weights are resampled from it.

        Raises:
            SourceError: the size is only the default of the name.
        """
        if size in self.known:
            return
        flag = f"--trained-{size.replace(' ', '-')}"
        asked = overrides.image_size if size == "image size" else overrides.window_size
        named = self.preprocess.size if size == "image size" else None
        choices = [
            f"{flag} {'x'.join(map(str, sides)) if isinstance(sides, tuple) else sides} {whose}"
            for sides, whose in ((named, f"for that of {self.source}"), (asked, "for that of this export"))
            if sides is not None
        ]
        raise SourceError(
            f"{self.source}: the checkpoint does not state the {size} of training, and its position encoding "
            f"would have to be resampled from it. Give {flag}: {', '.join(choices)}, or another"
        )


def certain_sizes(weights: Weights, overrides: Overrides, *, configured: bool = False) -> Collection[str]:
    """Return the certain sizes of training: given by the user, a configuration or published weights."""
    if configured or not isinstance(weights, Checkpoint):
        return SIZES
    given = overrides.model_args
    stated = {
        "image size": overrides.trained_image_size or given.get("img_size") or given.get("image_size"),
        "window size": overrides.trained_window_size or given.get("window_size"),
    }
    return [size for size in SIZES if stated[size] is not None]


def classes_in(state: State, heads: State) -> int | None:
    """Return the number of classes of a checkpoint if it differs from the network's; None if equal or ambiguous.

    Args:
        state: the checkpoint, under the network's keys.
        heads: the network's tensors with a row for each class.
    """
    found = {
        len(state[key])
        for key, tensor in heads.items()
        if key in state and state[key].ndim == tensor.ndim > 0 and state[key].shape != tensor.shape
        if state[key].shape[1:] == tensor.shape[1:]
    }
    return found.pop() if len(found) == 1 else None


def check_options(source: str, options: Mapping[str, Any], reserved: Collection[str]) -> dict[str, Any]:
    """Return the options of --model-arg for a library's constructor.

    Raises:
        SourceError: an option selects weights or devices, which other flags do.
    """
    refused = [option for option in options if option in reserved or option.startswith("_")]
    if refused:
        raise SourceError(
            f"{source}: --model-arg {refused[0]} is not an option of the network; weights come from --checkpoint or "
            "--pretrained, and images have three channels"
        )
    return dict(options)


def described(options: Mapping[str, Any]) -> str:
    """Return options as they were given, for an error."""
    return ", ".join(f"{option}={value}" for option, value in options.items())
