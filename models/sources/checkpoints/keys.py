"""Mapping of a checkpoint's keys to a network's: a common prefix and leftovers of training are removed.

Wrappers put one prefix before every key (`module.`, `_orig_mod.`, `model.`, or several); profilers, losses and averages
add their own tensors. A prefix is accepted if its removal yields every key of the network; there is no list of names.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from torch import Tensor

from models.sources.base import SourceError
from models.sources.checkpoints.buffers import check_buffers, is_computed
from models.sources.checkpoints.contents import Contents
from models.sources.checkpoints.fit import Advise, first_few, misfit_of

State = Mapping[str, Tensor]

_COUNTERS = {"total_ops", "total_params", "n_averaged", "num_updates", "decay", "ema_decay", "initted", "step"}
"""Last key components of scalars that profilers and averages leave in a state_dict."""

_FIGURES = re.compile(
    r"(\w*[_a-z])?[Ll]oss(es)?([_A-Z0-9]\w*)?|(\w*_)?criterion(_\w+)?|(\w*_)?metrics?(_\w+)?|mixup(_\w+)?|cutmix(_\w+)?|"
    r"((train|val|valid|test)_)?(acc\d*|accuracy|auroc|confmat|confusion_matrix)|(class|pos|label)_weights?"
)
"""Key components of tensors that losses, metrics and augmentation leave in a state_dict."""

_EXAMPLES = re.compile(r"(input|image|output|target|label)s?|logits")
"""Keys of an example stored beside weights: an input and its output."""

_AVERAGE = re.compile(r"(^|[._])(ema|ema_\w+|\w+_ema|averaged?_model)\.")


def candidates(state: Collection[str], expected: Collection[str]) -> list[str]:
    """Return the prefixes whose removal matches more of the network's keys, the best first; "" comes first of all."""
    wanted = set(expected)
    overlap: Counter[str] = Counter()
    for key in state:
        parts = key.split(".")
        for at in range(len(parts)):
            overlap["".join(f"{part}." for part in parts[:at])] += ".".join(parts[at:]) in wanted
    return ["", *(prefix for prefix, keys in overlap.most_common() if prefix and keys > overlap[""])]


def is_counter(key: str) -> bool:
    """Return whether a key is a batch norm's counter of training steps, which is optional in a checkpoint."""
    return key.endswith("num_batches_tracked")


def strip(state: State, prefix: str) -> dict[str, Tensor]:
    """Return the tensors under `prefix`, with the prefix removed."""
    return {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}


def fit_keys(
    contents: Contents,
    expected: State,
    advise: Advise,
    *,
    adopt: Callable[[State], State] = dict,
    buffers: Callable[[], State] = dict,
    heads: Collection[str] = (),
) -> Contents:
    """Return exactly the network's weights, under the network's keys; counters of training steps are optional.

    Args:
        contents: the checkpoint.
        expected: the network's tensors.
        advise: returns advice if they do not fit.
        adopt: converts other published names of the same weights to the network's.
        buffers: returns the buffers that the network computes; called if the checkpoint contains some of them.
        heads: keys with a row for each class; their number of rows may differ.

    Raises:
        SourceError: a key is missing or unexpected, or a buffer differs from the network's.
    """
    needed = {key for key in expected if not is_counter(key)}
    found: dict[str, State] = {}

    def fits(prefix: str) -> bool:
        found[prefix] = adopt(strip(contents.state, prefix))
        return needed <= found[prefix].keys()

    prefix, notes = choose_prefix(contents, expected, fits)
    if prefix is None:
        prefix = max(found, key=lambda prefix: len(found[prefix].keys() & needed))
        wanted = {key: tensor for key, tensor in expected.items() if key in needed}
        raise _misfit(contents, prefix, found[prefix], with_classes(wanted, found[prefix], heads), advise)
    state = found[prefix]
    computed = {key: tensor for key, tensor in state.items() if key not in expected and is_computed(key)}
    ignored = left_behind({key: tensor for key, tensor in state.items() if key not in expected})
    if len(state.keys() - expected.keys()) > len(computed) + len(ignored):
        raise _misfit(contents, prefix, state, with_classes(expected, state, heads), advise)
    if computed:
        check_buffers(computed, buffers(), contents.origin)
    return replace(
        contents,
        state={key: state[key] for key in expected if key in state},
        notes=(*contents.notes, *notes, *ignored_note(ignored)),
        sized=contents.sized or bool(computed),
    )


def choose_prefix(
    contents: Contents, expected: Collection[str], fits: Callable[[str], bool]
) -> tuple[str | None, tuple[str, ...]]:
    """Return the prefix whose removal yields all keys of the network (None if there is none), and notes on the choice.

    Args:
        contents: the checkpoint.
        expected: the network's keys.
        fits: returns whether the removal of a prefix yields every key of the network.

    Raises:
        SourceError: several prefixes fit, or tensors outside the prefix may be part of a larger network.
    """
    fitting = []
    for prefix in candidates(contents.state, expected):
        if fits(prefix):
            fitting.append(prefix)
            if not prefix:
                return "", ()
    if not fitting:
        return None, ()
    averages = [prefix for prefix in fitting if _AVERAGE.search(prefix)]
    if len(fitting) > 1 and len(averages) != 1:
        names = ", ".join(prefix.rstrip(".") for prefix in fitting)
        raise SourceError(
            f"{contents.origin} contains {len(fitting)} sets of weights: {names}; choose one with --weights-key NAME"
        )
    chosen = averages[0] if len(fitting) > 1 else fitting[0]
    return chosen, _leave_out(contents, chosen, [prefix for prefix in fitting if prefix != chosen])


def _leave_out(contents: Contents, prefix: str, copies: list[str]) -> tuple[str, ...]:
    """Return notes on the tensors outside the prefix."""
    if copies:
        others = ", ".join(copy.rstrip(".") for copy in copies)
        note = f"took {prefix.rstrip('.')}, averaged over training steps, not {others} (--weights-key chooses)"
    else:
        note = f"dropped the prefix {prefix} of every key"
    outside = {key: tensor for key, tensor in contents.state.items() if not key.startswith((prefix, *copies))}
    ignored = left_behind(outside)
    unknown = [key for key in outside if key not in ignored]
    if unknown:
        raise SourceError(
            f"{contents.origin}: the keys under {prefix} are the network's, but there are others beside them: "
            f"{first_few(unknown)}. If they belong to the trained network, export the whole network with "
            f"python:PATH/FILE.py:FUNCTION; if not, leave them out with --weights-key {prefix.rstrip('.')}"
        )
    return (note, *ignored_note(ignored))


def left_behind(state: State) -> list[str]:
    """Return the keys of tensors that profilers, losses, metrics, averages and recorded examples left in `state`."""
    return [
        key
        for key, tensor in state.items()
        if (key.rpartition(".")[2] in _COUNTERS and tensor.numel() == 1)
        or _EXAMPLES.fullmatch(key)
        or any(map(_FIGURES.fullmatch, key.split(".")))
    ]


def with_classes(expected: State, state: State, heads: Collection[str]) -> dict[str, Tensor]:
    """Return `expected` with the checkpoint's `heads` if they differ in the number of classes only."""
    own = {key: state[key] for key in heads if key in state and state[key].shape[1:] == expected[key].shape[1:]}
    return dict(expected) | own


def ignored_note(keys: list[str]) -> tuple[str, ...]:
    """Return a note on keys that were ignored; none if there are none."""
    return (f"ignored {first_few(keys)}: not weights of the network",) if keys else ()


def _misfit(contents: Contents, prefix: str, state: State, expected: State, advise: Advise) -> SourceError:
    extra = {key: tensor for key, tensor in state.items() if key not in expected}
    harmless = {*left_behind(extra), *filter(is_computed, extra)}
    misfit = misfit_of({key: tensor for key, tensor in state.items() if key not in harmless}, expected)
    under = f" under the prefix {prefix}" if prefix else ""
    return SourceError(f"{contents.origin} does not fit the network{under}; {misfit}. {advise(misfit)}")
