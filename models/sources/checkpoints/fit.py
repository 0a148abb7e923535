"""Strict comparison of a checkpoint's keys and shapes with a network's, with a description of the differences."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from artifact.text import shown
from models.sources.base import SourceError

_NAMED = 3  # maximum number of keys in an error

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Misfit:
    """Differences between a checkpoint and a network.

    Attributes:
        expected: shapes of the network, by key.
        found: shapes of the checkpoint, by key.
    """

    expected: Mapping[str, Shape]
    found: Mapping[str, Shape]
    missing: tuple[str, ...] = field(init=False)
    unexpected: tuple[str, ...] = field(init=False)
    reshaped: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        others = [key for key in self.expected if key in self.found and self.found[key] != self.expected[key]]
        object.__setattr__(self, "missing", tuple(key for key in self.expected if key not in self.found))
        object.__setattr__(self, "unexpected", tuple(key for key in self.found if key not in self.expected))
        object.__setattr__(self, "reshaped", tuple(others))

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.reshaped)

    def __str__(self) -> str:
        shapes = [f"{key} is {list(self.found[key])}, expected {list(self.expected[key])}" for key in self.reshaped]
        parts = {"missing: ": self.missing, "unexpected: ": self.unexpected, "": shapes}
        return "; ".join(f"{word}{first_few(list(keys))}" for word, keys in parts.items() if keys)


Advise = Callable[[Misfit], str]
"""Function that returns advice about a misfit, a sentence without its full stop."""


def misfit_of(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Misfit:
    """Return the differences between `state` and the expected tensors."""
    return Misfit(*({key: tuple(tensor.shape) for key, tensor in side.items()} for side in (expected, state)))


def check_fit(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], origin: Path | str, advise: Advise) -> None:
    """Check the tensors of a checkpoint against the expected keys and shapes.

    Raises:
        SourceError: a key is missing or unexpected, a shape differs, or a tensor is not dense, real or finite.
    """
    misfit = misfit_of(state, expected)
    if misfit:
        raise SourceError(f"{origin} does not fit the network; {misfit}. {advise(misfit)}")
    unlike = [f"{key} ({_kind(tensor)})" for key, tensor in state.items() if not _is_like(tensor, expected[key])]
    if unlike:
        raise SourceError(
            f"{origin} contains {first_few(unlike)}, expected dense floating-point numbers; save the original weights, "
            "not quantized, sparse or unloaded ones"
        )
    broken = [key for key, tensor in state.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        raise SourceError(f"{origin} contains NaN or infinity in {first_few(broken)}")


def _is_like(found: Tensor, expected: Tensor) -> bool:
    """Return whether a tensor can be copied to the expected one without a loss of its kind of numbers."""
    floats = found.is_floating_point() or not expected.is_floating_point()
    return floats and found.layout == torch.strided and not found.is_meta


def _kind(tensor: Tensor) -> str:
    place = "meta" if tensor.is_meta else str(tensor.layout).removeprefix("torch.")
    return f"{place} {str(tensor.dtype).removeprefix('torch.')}"


def first_few(items: list[str]) -> str:
    """Return the first of `items` and the number of the others, for an error."""
    more = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return ", ".join(map(shown, items[:_NAMED])) + more
