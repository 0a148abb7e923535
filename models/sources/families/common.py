"""What families share: refusing what our networks do not do, and steps on the way from a library's keys to ours."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from models.sources.base import SourceError
from models.sources.families.base import State

Rules = Sequence[tuple[str, str]]
"""Regular expressions and what takes the place of what they match, one after the other."""

_LETTER = re.compile(r"(.+\.attention\.)[qkv]\.(weight|bias)")


def refuse(model: nn.Module, exotic: Mapping[str, bool]) -> None:
    """Check that a network of a known family has none of what ours lacks.

    Args:
        model: the library's network.
        exotic: whether it is there, by name.

    Raises:
        SourceError: some of it is.
    """
    there = [name for name, present in exotic.items() if present]
    if there:
        raise SourceError(f"this {type(model).__name__} has {', '.join(there)}")


def rename(state: State, rules: Rules) -> dict[str, Tensor]:
    """Return the tensors under the keys that `rules` make of theirs."""
    renamed = {}
    for key, tensor in state.items():
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        assert key not in renamed, f"two tensors are called {key}"
        renamed[key] = tensor
    return renamed


def join_qkv(state: State) -> dict[str, Tensor]:
    """Return `state` with `….attention.{q,k,v}.…` joined to `….attention.qkv.…`.

    Where only some of the three have a bias, the others get zeros.
    """
    joined: dict[str, Tensor] = {}
    for key, tensor in state.items():
        match = _LETTER.fullmatch(key)
        if match is None:
            joined[key] = tensor
            continue
        prefix, kind = match.groups()
        parts = [state.get(f"{prefix}{letter}.{kind}") for letter in "qkv"]
        joined[f"{prefix}qkv.{kind}"] = torch.cat([torch.zeros_like(tensor) if p is None else p for p in parts])
    return joined


def pad_position(state: dict[str, Tensor], extra_tokens: int, num_patches: int) -> dict[str, Tensor]:
    """Return `state` with zeros in the absolute embedding for the extra tokens that have none in the library's."""
    table = state.get("position.table")
    if table is None:
        return state
    without = extra_tokens + num_patches - table.shape[1]
    return state | {"position.table": torch.nn.functional.pad(table, (0, 0, without, 0))}


def fill_biases(state: dict[str, Tensor], *layers: str) -> dict[str, Tensor]:
    """Return `state` with a bias of zeros for each layer whose name ends in one of `layers` and that has none."""
    filled = dict(state)
    for key, weight in state.items():
        layer = key.removesuffix(".weight")
        if layer != key and layer.endswith(layers):
            filled.setdefault(f"{layer}.bias", weight.new_zeros(len(weight)))
    return filled


def mlp_ratio(hidden: int, width: int) -> float:
    """Return a ratio of which int(width · ratio) is `hidden`, despite rounding."""
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else (hidden + 0.5) / width


def odd_patches(projection: Any) -> dict[str, bool]:  # noqa: ANN401 -- whatever a library has there
    """Return what `refuse` should know of a patch embedding's convolution."""
    plain = isinstance(projection, nn.Conv2d)
    return {
        "a stem other than one convolution": not plain,
        "patches that overlap or are not square": plain
        and (projection.kernel_size != projection.stride or len({*projection.kernel_size}) != 1 or padded(projection)),
        "other than three input channels": plain and projection.in_channels != 3,
    }


def padded(projection: nn.Conv2d) -> bool:
    """Whether a convolution pads its input."""
    return projection.padding not in ((0, 0), "valid")


def odd_norms(norms: Sequence[nn.Module]) -> dict[str, bool]:
    """Return what `refuse` should know of norms."""
    plain = [norm for norm in norms if isinstance(norm, nn.LayerNorm)]
    return {
        "norms other than LayerNorm": len(plain) < len(norms),
        "norms without scale and shift": any(norm.weight is None or norm.bias is None for norm in plain),
        "norms of different epsilon": len({norm.eps for norm in plain}) > 1,
    }


def is_exact_gelu(activation: object) -> bool:
    """Whether an activation is the GELU of our MLP, not one of its approximations."""
    return isinstance(activation, nn.GELU) and activation.approximate == "none"
