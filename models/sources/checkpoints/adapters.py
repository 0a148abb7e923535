"""Adapters of peft (LoRA and others): merged into their base network or refused, never dropped.

peft writes a folder with `adapter_config.json` and `adapter_model.safetensors`, alone or beside the weights of the
base. The `state_dict()` of an adapted network contains both, with keys such as `….q_proj.base_layer.weight` and
`….q_proj.lora_A.default.weight`.
"""

import json
import re
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from models.sources.base import SourceError, one_line
from models.sources.checkpoints.fit import first_few

CONFIG = "adapter_config.json"

_KEY = re.compile(
    r"(^|\.)(lora_\w+|base_layer|modules_to_save|original_module|hada_w\w+|lokr_w\w+|ia3_l|oft_\w+|boft_\w+|hra_u|vera_\w+|"
    r"adaption_\w+|prompt_encoder|trainable_tokens_\w+|vblora_\w+|fourierft_\w+|randlora_\w+|shira_\w+)(\.|$)"
)
_OF_THE_BASE = re.compile(r"\.(base_layer|original_module)\.")
_TODAY = {"query": ("q_proj",), "key": ("k_proj",), "value": ("v_proj",), "dense": ("o_proj", "fc1", "fc2")}
"""Names of layers in transformers 5, by their names in transformers 4."""

_PEFT_PREFIX = "base_model.model."
_REMEDY = (
    "merge it where it was trained (model = model.merge_and_unload(); model.save_pretrained(FOLDER)) and export that"
)


@dataclass(frozen=True)
class Adapter:
    """The contents of `adapter_config.json`.

    Attributes:
        place: the folder, or an id on the Hub.
        kind: peft's name of the method.
        base: the base network, a folder or an id; None if not named.
    """

    place: str
    kind: str
    base: str | None


def adapter_in(folder: Path, place: str | None = None) -> Adapter | None:
    """Return the adapter in a folder; None if there is none.

    Args:
        folder: folder of the configuration.
        place: name for messages, if the folder is a cache.

    Raises:
        SourceError: the configuration cannot be read.
    """
    file = folder / CONFIG
    if not file.is_file():
        return None
    try:
        config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return Adapter(place or str(folder), str(config["peft_type"]), config.get("base_model_name_or_path") or None)
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{file} is not the configuration of an adapter: it has no peft_type") from error


def is_adapted(keys: Collection[str]) -> bool:
    """Return whether a state_dict has keys of an adapter or of an adapted network."""
    return any(_KEY.search(key) for key in keys)


def refuse_adapter(origin: Path | str, why: str) -> SourceError:
    """Return the error about an adapter that is not merged."""
    return SourceError(f"{origin} holds an adapter that is not merged into its network: {why}; {_REMEDY}")


def check_peft(adapter: Adapter) -> None:
    """Check that peft, which merges adapters, is installed.

    Raises:
        SourceError: peft is not installed.
    """
    try:
        import peft  # noqa: F401 -- optional
    except ImportError as error:
        raise refuse_adapter(
            adapter.place, f"{adapter.kind}, and peft is not installed. Install it (pip install peft), or"
        ) from error


def saved_by(adapter: Adapter) -> set[str]:
    """Return the keys of the network's own weights in an adapter's file, such as those of a classifier.

    Raises:
        SourceError: the file cannot be read.
    """
    return {key.removeprefix(_PEFT_PREFIX) for key in _weights(adapter) if _KEY.search(key) is None}


def classes_of(adapter: Adapter) -> int | None:
    """Return the number of classes of the classifier in an adapter's file; None if the file has no classifier."""
    return next((len(tensor) for key, tensor in _weights(adapter).items() if key.endswith("classifier.bias")), None)


def merge(
    network: nn.Module, adapter: Adapter, rename: Callable[[str], str], state: dict[str, Tensor] | None = None
) -> nn.Module:
    """Return `network` with an adapter merged into its weights.

    Args:
        network: the base network, with its weights.
        adapter: the adapter.
        rename: maps names of layers in older versions of the library to current names.
        state: the `state_dict()` of base and adapter, if the adapter has no files of its own.

    Raises:
        SourceError: peft cannot merge the adapter, or the adapter does not fit.
    """
    import peft

    try:
        config = peft.PeftConfig.from_pretrained(adapter.place)
        config.base_model_name_or_path = None  # the base is `network`; its recorded path is not used
        _rename_targets(config, network)
        weights = _renamed(_weights(adapter), network, rename) if state is None else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft uses a deprecated name of transformers
            tuned = peft.get_peft_model(network, config)
        if state is None:
            result: Any = peft.set_peft_model_state_dict(tuned, weights)
            absent = [key for key in result.missing_keys if _KEY.search(key) and _OF_THE_BASE.search(key) is None]
        else:
            result = tuned.load_state_dict(state, strict=False)
            absent = result.missing_keys
        wrong = [*result.unexpected_keys, *absent]
        if wrong:
            raise refuse_adapter(adapter.place, f"{first_few(wrong)} not in both")
        merged: nn.Module = tuned.merge_and_unload()
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, OSError) as error:
        raise refuse_adapter(adapter.place, f"peft cannot merge {adapter.kind} here ({one_line(error)})") from error
    return merged


def _rename_targets(config: Any, network: nn.Module) -> None:  # noqa: ANN401 -- peft's
    """Rename target layers from transformers 4 to 5; peft renames the keys of weights itself."""
    targets = getattr(config, "target_modules", None)
    if isinstance(targets, str) or not targets:
        return
    layers = {name.rpartition(".")[2] for name, _ in network.named_modules()}
    config.target_modules = {
        name for target in targets for name in ((target,) if target in layers else _TODAY.get(target, (target,)))
    }


def _renamed(state: Mapping[str, Tensor], network: nn.Module, rename: Callable[[str], str]) -> dict[str, Tensor]:
    """Return an adapter's weights under the current names of the network's layers."""
    layers = {name for name, _ in network.named_modules()}
    renamed = {}
    for key, tensor in state.items():
        layer = key.removeprefix(_PEFT_PREFIX)
        there = layer.partition(".lora_")[0] in layers
        renamed[key if there else _PEFT_PREFIX + rename(layer)] = tensor
    return renamed


def _weights(adapter: Adapter) -> dict[str, Tensor]:
    import peft

    try:
        weights: dict[str, Tensor] = peft.load_peft_weights(adapter.place, device="cpu")
    except (ValueError, OSError, RuntimeError) as error:
        raise refuse_adapter(adapter.place, f"its weights cannot be read ({one_line(error)})") from error
    return weights
