"""Loading of weights into transformers' modules: files, prefixes of keys, adapters.

The state_dict is read here and loaded by transformers, which renames keys.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.sources.base import Checkpoint, Pretrained, SourceError, Weights, one_line
from models.sources.checkpoints import Contents
from models.sources.checkpoints.adapters import (
    CONFIG,
    Adapter,
    adapter_in,
    check_peft,
    classes_of,
    is_adapted,
    merge,
    refuse_adapter,
    saved_by,
)
from models.sources.checkpoints.buffers import check_buffers, is_computed
from models.sources.checkpoints.fit import Advise, Misfit
from models.sources.checkpoints.keys import choose_prefix, ignored_note, left_behind, strip
from models.sources.checkpoints.reading import IN_FOLDERS, read_with_adapter
from models.sources.library import classes_in

_ADAPTER_FILES = ("adapter_model.safetensors", "adapter_model.bin")


@dataclass(frozen=True)
class Origin:
    """Location of a network's configuration and weights.

    Attributes:
        base: the folder or id with the configuration and, without `weights`, the weights of the network.
        weights: the file or folder with the weights, if not `base`.
        config: the folder of `weights`, if it has its own configuration.
        adapter: adapter to merge into the weights.
    """

    base: str
    weights: Checkpoint | None = None
    config: Path | None = None
    adapter: Adapter | None = None


@dataclass(frozen=True)
class Built:
    """Module of transformers, its report on loading weights (None without weights), and notes on the weights."""

    model: nn.Module
    loading: dict[str, Any] | None
    notes: tuple[str, ...] = ()


def find_weights(place: str, weights: Weights) -> Origin:
    """Return the location of a source's weights.

    Args:
        place: folder of the source, or its id on the Hub.
        weights: the request of the user.

    Raises:
        SourceError: the weights are an adapter, and peft is missing or the base network is unknown.
    """
    match weights:
        case Pretrained():
            adapter = _adapter_of(place)
            if adapter is None:
                return Origin(place, Checkpoint(Path(place)) if Path(place).is_dir() else None)
            check_peft(adapter)
            base = place if _has_weights(Path(place)) else adapter.base
            if base is None:
                raise refuse_adapter(place, "it does not name its base network (base_model_name_or_path)")
            return Origin(base, Checkpoint(Path(base)) if Path(base).is_dir() else None, adapter=adapter)
        case Checkpoint(path) if path.is_dir() or path.name in _ADAPTER_FILES:
            folder = path if path.is_dir() else path.parent
            adapter = adapter_in(folder)
            if adapter is None and not path.is_dir():
                raise refuse_adapter(path, f"there is no {CONFIG} beside it")
            if adapter is not None:
                check_peft(adapter)
            if path.is_dir() and (adapter is None or _has_weights(path)):
                return Origin(place, weights, config=path, adapter=adapter)
            return Origin(place, Checkpoint(Path(place)) if Path(place).is_dir() else None, adapter=adapter)
        case Checkpoint():
            return Origin(place, weights)
        case _:
            return Origin(place)


def build(config: Any, origin: Origin, weights: Weights) -> Built:  # noqa: ANN401 -- transformers'
    """Build transformers' module with its weights; without weights, on the meta device.

    Raises:
        SourceError: a checkpoint cannot be read or contains more than the network, or an adapter cannot be merged.
    """
    if not isinstance(weights, Checkpoint | Pretrained):
        with torch.device("meta"):
            return Built(auto().from_config(config), None)
    adapter = origin.adapter
    classes = None if adapter is None else classes_of(adapter)
    if classes is not None:
        config.num_labels = classes
    if origin.weights is None:
        model, loading = auto().from_pretrained(origin.base, config=config, **_STRICTLY)
        built = Built(model, loading)
    else:
        contents = read_with_adapter(origin.weights)
        if is_adapted(contents.state):
            return _merged_whole(config, contents)
        built = _loaded(config, contents, classes)
    if adapter is None:
        return built
    assert built.loading is not None
    whole = saved_by(adapter)
    missing = [key for key in built.loading["missing_keys"] if key not in whole]
    mismatched = [key for key in built.loading["mismatched_keys"] if key[0] not in whole]
    note = f"merged the {adapter.kind} adapter of {Path(adapter.place).name} into its network"
    return Built(
        merge(built.model, adapter, _todays_layer),
        built.loading | {"missing_keys": missing, "mismatched_keys": mismatched},
        (*built.notes, note),
    )


_STRICTLY: dict[str, Any] = {
    "output_loading_info": True,
    "ignore_mismatched_sizes": True,  # reports mismatches instead of raising
    "dtype": torch.float32,
    "trust_remote_code": False,
}


def _loaded(config: Any, contents: Contents, classes: int | None) -> Built:  # noqa: ANN401 -- transformers'
    """Return the module with the weights of a checkpoint; its keys may have a common prefix.

    `classes` is the number of classes if it is not the checkpoint's.
    """
    with torch.device("meta"):
        empty = auto().from_config(config)
    tried: dict[str, tuple[Any, dict[str, Any]]] = {}

    def fits(prefix: str) -> bool:
        state = strip(contents.state, prefix)
        tried[prefix] = _from_state(config, empty, state, classes)
        return not tried[prefix][1]["missing_keys"]

    prefix, notes = choose_prefix(contents, empty.state_dict(), fits)
    if prefix is None:
        prefix = min(tried, key=lambda prefix: len(tried[prefix][1]["missing_keys"]))
    model, loading = tried[prefix]
    config.num_labels = model.config.num_labels
    state = strip(contents.state, prefix)
    ours = {key: tensor for key, tensor in model.named_buffers() if is_computed(key)}
    before, now = ".self.relative_position_index", ".relative_position_bias.relative_position_index"  # of Swin
    theirs = {key.replace(before, now): tensor for key, tensor in state.items() if is_computed(key)}
    check_buffers({key: tensor for key, tensor in theirs.items() if key in ours}, ours, contents.origin)
    ignored = left_behind({key: state[key] for key in loading["unexpected_keys"] if key in state})
    unexpected = [key for key in loading["unexpected_keys"] if key not in ignored and not is_computed(key)]
    return Built(model, loading | {"unexpected_keys": unexpected}, (*contents.notes, *notes, *ignored_note(ignored)))


def check_loading(source: str, built: Built, advise: Advise) -> None:
    """Check transformers' report on loading weights.

    Raises:
        SourceError: a key was missing or unexpected, or a shape differed; the message names the first few.
    """
    assert built.loading is not None
    expected = {key: tuple(tensor.shape) for key, tensor in built.model.state_dict().items()}
    theirs = {key: tuple(there) for key, there, *_ in built.loading["mismatched_keys"]}
    missing = set(built.loading["missing_keys"])
    present = {key: theirs.get(key, shape) for key, shape in expected.items() if key not in missing}
    extra = {key: () for key in built.loading["unexpected_keys"] if not is_computed(key)}
    misfit = Misfit(expected, present | extra)
    if misfit:
        raise SourceError(f"the weights do not fit {source}; {misfit}. {advise(misfit)}")


def _from_state(
    config: Any,  # noqa: ANN401 -- transformers'
    empty: Any,  # noqa: ANN401 -- transformers'
    state: dict[str, Tensor],
    classes: int | None,
) -> tuple[Any, dict[str, Any]]:
    if classes is None:
        heads = {
            key: tensor
            for key, tensor in empty.state_dict().items()
            if ("head" in key or "classifier" in key) and tensor.shape[:1] == (config.num_labels,)
        }
        classes = classes_in(state, heads)
    if classes is not None:
        config = type(config).from_dict(config.to_dict())
        config.num_labels = classes
    model, loading = type(empty).from_pretrained(None, config=config, state_dict=state, **_STRICTLY)
    return model, loading


def _todays_layer(key: str) -> str:
    """Return the key in transformers 5 for a key of transformers 4."""
    for pattern, replacement in _RENAMED:
        key = re.sub(pattern, replacement, key)
    return key


_RENAMED = (
    (r"^(\w+)\.encoder\.layer\.", r"\1.layers."),
    (r"\.attention\.attention\.query\.", ".attention.q_proj."),
    (r"\.attention\.attention\.key\.", ".attention.k_proj."),
    (r"\.attention\.attention\.value\.", ".attention.v_proj."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"(\.layers\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
    (r"\.attention\.self\.(q|k|v)(uery|ey|alue)\.", r".attention.\1_proj."),
    (r"(\.blocks\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
)


def _merged_whole(config: Any, contents: Contents) -> Built:  # noqa: ANN401 -- transformers'
    """Return the module with the weights of an adapted network's `state_dict()`, with the adapter merged."""
    origin = Path(contents.origin)
    adapter = adapter_in(origin.parent)
    if adapter is None:
        raise refuse_adapter(origin, f"its keys are peft's, and there is no {CONFIG} with the scale beside it")
    check_peft(adapter)
    heads = [len(tensor) for key, tensor in contents.state.items() if key.endswith("modules_to_save.default.bias")]
    if heads:
        config.num_labels = heads[0]
    model = merge(auto().from_config(config), replace(adapter, place=str(origin.parent)), _todays_layer, contents.state)
    note = f"merged the {adapter.kind} adapter in {origin.name} into its network"
    nothing: dict[str, Any] = {"missing_keys": [], "unexpected_keys": [], "mismatched_keys": []}
    return Built(model, nothing, (*contents.notes, note))


def _adapter_of(place: str) -> Adapter | None:
    """Return the adapter in a folder, or at an id on the Hub; None if there is none."""
    if Path(place).is_dir():
        return adapter_in(Path(place))
    from transformers.utils.peft_utils import find_adapter_config_file

    file = find_adapter_config_file(place)
    return None if file is None else adapter_in(Path(file).parent, place)


def _has_weights(folder: Path) -> bool:
    return any((folder / name).is_file() for name in IN_FOLDERS)


def auto() -> Any:  # noqa: ANN401 -- transformers'
    """Return transformers' class for image classification."""
    return library().AutoModelForImageClassification


def library() -> Any:  # noqa: ANN401 -- partly untyped
    """Import transformers, which takes seconds, and return it."""
    import transformers

    return transformers


@contextmanager
def quietly(source: str) -> Iterator[None]:
    """Suppress transformers' output inside the context, and convert its exceptions to one line.

    Raises:
        SourceError: transformers cannot find or build the network.
    """
    logging = library().utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    except SourceError:
        raise
    except Exception as error:
        raise SourceError(f"{source}: transformers cannot load it: {one_line(error)}") from error
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
