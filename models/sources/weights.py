"""Checkpoints: reading them safely, loading them strictly, and drawing random ones."""

import json
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from artifact import Accuracy
from artifact.text import shown
from models.encodings import Encoding
from models.sources.base import SourceError
from models.sources.headers import check_header

CONFIGURATION = "Check that the configuration has the encoding and sizes of training; --image-size changes them later"
"""What to do about a checkpoint that does not fit a configuration."""

_NAMED = 3  # how many keys an error names


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a checkpoint and its metadata (safetensors only).

    A `.pth` is read with `weights_only=True`: nothing in it is executed.

    Raises:
        SourceError: the file is missing, damaged, of another kind, or holds more than tensors.
    """
    if path.is_dir():
        raise SourceError(
            f"{path} is a folder, which only transformers: takes; give --checkpoint the .safetensors or .pth file in it"
        )
    if not path.is_file():
        raise SourceError(f"no checkpoint at {path}; give --checkpoint an existing .safetensors or .pth file")
    if path.suffix == ".safetensors":
        check_header(path)
        try:
            with safe_open(path, framework="pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
        except SafetensorError as error:
            raise SourceError(f"{path} is not a safetensors file, or is truncated: {error}") from error
    if path.suffix in {".pth", ".pt"}:
        return _read_pickled(path), {}
    raise SourceError(f"{path} ends in {path.suffix or 'nothing'}; expected .safetensors, .pth or .pt")


def _read_pickled(path: Path) -> dict[str, Tensor]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise SourceError(
            f"{path} holds more than tensors, and loading it could run code; "
            "save its state_dict() alone, best as .safetensors"
        ) from error
    except (RuntimeError, EOFError, ValueError) as error:
        raise SourceError(f"{path} is not a checkpoint, or is truncated: {error}") from error
    if isinstance(loaded, dict):
        for wrapper in ("model", "state_dict"):
            if isinstance(loaded.get(wrapper), dict):
                loaded = loaded[wrapper]
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise SourceError(f"{path} holds no state_dict; save network.state_dict()")
    return loaded


def load_strictly(
    network: nn.Module, state: Mapping[str, Tensor], origin: Path | str, name_of: Callable[[str], str] = lambda key: key
) -> None:
    """Put every tensor of `state` into `network`.

    Args:
        network: what takes the tensors.
        state: tensors under the checkpoint's keys.
        origin: the checkpoint, for errors.
        name_of: the checkpoint's key for one of the network's.

    Raises:
        SourceError: see `check_fit`.
    """
    ours = {name_of(key): key for key in network.state_dict()}
    check_fit(state, {name: network.state_dict()[key] for name, key in ours.items()}, origin)
    network.load_state_dict({ours[name]: tensor for name, tensor in state.items()})


def check_fit(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], origin: Path | str, advice: str = CONFIGURATION
) -> None:
    """Check the tensors of a checkpoint against those that it should have; of these only the shape matters.

    `advice` is what to do about a checkpoint that does not fit, a sentence without its full stop.

    Raises:
        SourceError: a key is missing or unexpected, a shape differs, a number is not finite; the first few are named.
    """
    missing = [key for key in expected if key not in state]
    unexpected = [key for key in state if key not in expected]
    if missing or unexpected:
        found = [
            f"{word}: {first_few(keys)}" for word, keys in (("missing", missing), ("unexpected", unexpected)) if keys
        ]
        raise SourceError(f"{origin} does not fit the network; {'; '.join(found)}. {advice}")
    shapes = [
        f"{key} is {list(state[key].shape)}, expected {list(tensor.shape)}"
        for key, tensor in expected.items()
        if state[key].shape != tensor.shape
    ]
    if shapes:
        raise SourceError(f"{origin} does not fit the network; {first_few(shapes)}. {advice}")
    broken = [key for key, tensor in state.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        raise SourceError(f"{origin} holds NaN or infinity in {first_few(broken)}")


def first_few(items: list[str]) -> str:
    """Return the first of `items`, and how many more there are, for an error."""
    more = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return ", ".join(map(shown, items[:_NAMED])) + more


def read_accuracy(metadata: dict[str, str], origin: Path) -> Accuracy | None:
    """Return the accuracy that training wrote into a checkpoint's metadata, if it did.

    Raises:
        SourceError: it is there, but is not {"dataset", "top1", "count"}.
    """
    if "accuracy" not in metadata:
        return None
    try:
        return Accuracy.model_validate(json.loads(metadata["accuracy"]))
    except (ValidationError, ValueError) as error:
        raise SourceError(f"{origin}: its metadata has an accuracy that cannot be read: {error}") from error


def randomise(network: nn.Module, seed: int) -> None:
    """Give every parameter a value that matters, position tables above all: fresh ones are zero or tiny.

    A comparison of two networks whose tables are zero proves nothing about their position encoding.
    """
    generator = torch.Generator().manual_seed(seed)
    tables = {id(p) for module in network.modules() if isinstance(module, Encoding) for p in module.parameters()}
    scales = {id(module.weight) for module in network.modules() if isinstance(module, nn.LayerNorm)}
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if id(parameter) in tables:
                parameter.copy_(0.5 * noise)
            elif parameter.ndim > 1:
                parameter.copy_(noise * parameter[0].numel() ** -0.5)
            else:
                parameter.copy_(0.1 * noise + (1 if id(parameter) in scales else 0))
