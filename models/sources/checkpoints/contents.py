"""Selection of the weights among the entries of a training script's file.

A state_dict may be nested in containers (`state_dict` > `model`), beside others of the same network: an average over
training steps (EMA), a teacher, an optimiser's state. As in timm, an average takes precedence over raw weights.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from models.sources.base import SourceError

AVERAGES = ("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema_model_state_dict", "ema")
"""Containers of weights averaged over training steps, in timm's order of preference."""

CONTAINERS = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights")
"""Containers of raw (not averaged) weights, in order of preference."""

_APART = re.compile("optim|sched|scaler|amp|callbacks|loops|loss|criterion|hyper|config|args|rng")
"""Parts of the names of other data that training scripts store beside weights."""

_SHOWN = 5  # maximum number of names in a message
_LAST = 99  # rank of entries that are not a network's weights

Way = tuple[str, ...]
"""Names of nested containers, from the outermost to the one with the tensors."""

Found = Mapping[Way, dict[str, Tensor]]


@dataclass(frozen=True)
class Contents:
    """Weights of a checkpoint.

    Attributes:
        origin: the checkpoint, for errors.
        state: tensors by key.
        metadata: strings by key (safetensors only).
        notes: a sentence for each choice made in selecting the weights.
        sized: whether its buffers matched the network's, which proves that the sizes are those of training.
    """

    origin: Path | str
    state: dict[str, Tensor]
    metadata: Mapping[str, str]
    notes: tuple[str, ...] = ()
    sized: bool = False


def take_weights(loaded: object, origin: Path | str, key: str | None) -> Contents:
    """Return the weights in the contents of a file.

    Args:
        loaded: the contents: dicts, lists, tensors and numbers.
        origin: the file.
        key: the path of containers to the weights, separated by dots, or a prefix of their names; None searches for
            them.

    Raises:
        SourceError: there are none, or there are several candidates.
    """
    found = dict(_state_dicts(loaded))
    if key is not None:
        return _named(found, origin, key)
    if not found:
        raise SourceError(f"{origin} contains no state_dict, but {_described(loaded)}; save network.state_dict()")
    return _preferred(found, origin)


def _preferred(found: Found, origin: Path | str) -> Contents:
    """Return the weights with the highest preference."""
    beside = {way: state for way, state in found.items() if way and not _is_apart(way)}
    if beside and not any("." in key for key in found.get((), ())):
        found = beside  # the top-level tensors are metrics of the training run
    ranks = {way: _rank(way) for way in found}
    first = min(ranks, key=ranks.__getitem__)
    equal = [way for way, rank in ranks.items() if rank == ranks[first]]
    if len(equal) > 1:
        raise SourceError(
            f"{origin} contains {len(equal)} sets of weights: {_listed(equal)}; choose one with --weights-key NAME"
        )
    notes = []
    others = [way for way in beside if way != first]
    if ranks[first] < len(AVERAGES) or others:
        average = ", averaged over training steps" if ranks[first] < len(AVERAGES) else ""
        instead = f", not {_listed(others)}" if others else ""
        notes.append(f"took {_name(first)}{average}{instead} (--weights-key chooses)")
    return Contents(origin, found[first], {}, tuple(notes))


def _named(found: Found, origin: Path | str, key: str) -> Contents:
    """Return the weights named by `key`: a container, or a prefix of keys in one."""
    notes = (f"took {key} (--weights-key)",)
    below = {way: state for way, state in found.items() if f"{_name(way)}.".startswith(f"{key}.") and way}
    if below:
        return replace(_preferred(below, origin), notes=notes)
    inside = {}
    for way, state in found.items():
        container = f"{_name(way)}." if way else ""
        if not _is_apart(way) or key.startswith(container):
            prefix = f"{key.removeprefix(container)}."
            part = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
            if part:
                inside[way] = part
    if not inside:
        names = dict.fromkeys(
            name for way, state in found.items() for name in ([_name(way)] if way else _starts(state))
        )
        names |= dict.fromkeys(f"{_name(way)}.{start}" for way in found if way for start in _starts(found[way]))
        raise SourceError(f"{origin} has no weights named {key} (--weights-key); it has {_shortened(list(names))}")
    return replace(_preferred(inside, origin), notes=notes)


def _starts(state: Mapping[str, Tensor]) -> list[str]:
    """Return the first components of keys; `--weights-key` may name these too."""
    return list(dict.fromkeys(key.partition(".")[0] for key in state if "." in key))


def _state_dicts(loaded: object, way: Way = ()) -> Iterator[tuple[Way, dict[str, Tensor]]]:
    """Yield each mapping from names to tensors with its path; numbers beside the tensors are left out."""
    if not isinstance(loaded, Mapping) or not all(isinstance(key, str) for key in loaded):
        return
    tensors = {key: value for key, value in loaded.items() if isinstance(value, Tensor)}
    if tensors:
        yield way, tensors
    for key, value in loaded.items():
        yield from _state_dicts(value, (*way, key))


def _rank(way: Way) -> int:
    """Return the preference of a container, smallest first; equal for containers that names do not order."""
    averages = [AVERAGES.index(part) for part in way if part in AVERAGES]
    if _is_apart(way):
        return _LAST
    if averages:
        return min(averages)
    if way and all(part in CONTAINERS for part in way):
        return len(AVERAGES) + CONTAINERS.index(way[0])
    return len(AVERAGES) + len(CONTAINERS) + bool(way)


def _is_apart(way: Way) -> bool:
    return any(_APART.search(part.lower()) for part in way)


def _name(way: Way) -> str:
    return ".".join(way) if way else "the top-level tensors"


def _listed(ways: list[Way]) -> str:
    return _shortened([_name(way) for way in ways])


def _shortened(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _described(loaded: object) -> str:
    if isinstance(loaded, Mapping):
        return f"a dict of {_shortened([str(key) for key in loaded])}" if loaded else "an empty dict"
    return f"a {type(loaded).__name__}"
