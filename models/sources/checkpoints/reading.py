"""Reader for checkpoints: a file, the index of a sharded file, or a folder with one of these."""

import json
from dataclasses import replace
from pathlib import Path, PurePosixPath

from safetensors import SafetensorError, safe_open
from torch import Tensor

from models.sources.base import Checkpoint, SourceError
from models.sources.checkpoints.adapters import CONFIG, is_adapted, refuse_adapter
from models.sources.checkpoints.contents import Contents, take_weights
from models.sources.checkpoints.formats import format_of
from models.sources.checkpoints.pickled import load_pickled

IN_FOLDERS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""File names of weights in a folder, in the order in which transformers and timm look for them."""


LARGEST_HEADER = 2**24
"""Maximum size of a safetensors header in bytes: room for 100,000 tensors with names of 80 characters.

safetensors accepts up to 100 MB, for which it needs half a minute and 1 GB of memory.
"""


def read_checkpoint(checkpoint: Checkpoint) -> Contents:
    """Return the weights of a checkpoint, under its own keys.

    Raises:
        SourceError: see `read_with_adapter`, or the weights are or contain an adapter.
    """
    folder = checkpoint.path
    if folder.is_dir() and (folder / CONFIG).is_file():
        raise refuse_adapter(folder, f"it has {CONFIG}, and only the source transformers: can find its base network")
    contents = read_with_adapter(checkpoint)
    if is_adapted(contents.state):
        raise refuse_adapter(contents.origin, f"its keys are peft's, and there is no {CONFIG} beside it")
    return contents


def read_with_adapter(checkpoint: Checkpoint) -> Contents:
    """Return the weights of a checkpoint, which may contain an adapter.

    A file of torch.save is read with `weights_only=True`: nothing in it is executed.

    Raises:
        SourceError: it is missing, damaged, of another format, or contains more than tensors and settings.
    """
    return _read(file_of(checkpoint.path), checkpoint.key)


def file_of(path: Path) -> Path:
    """Return the file at a checkpoint's path: the path itself, or the weights in a folder.

    Raises:
        SourceError: there is no such file.
    """
    if path.is_dir():
        for name in IN_FOLDERS:
            if (path / name).is_file():
                return path / name
        raise SourceError(
            f"{path} is a folder without {', '.join(IN_FOLDERS[:-1])} or {IN_FOLDERS[-1]}; give --checkpoint the file "
            "with the weights in it"
        )
    if not path.is_file():
        raise SourceError(f"no checkpoint at {path}; give --checkpoint an existing file or folder")
    return path


def files_of(path: Path) -> list[Path]:
    """Return the files of a checkpoint's weights, an index first.

    Raises:
        SourceError: there is no such file, or an index cannot be read.
    """
    file = file_of(path)
    return [file, *sorted(set(_shards(file).values()))] if format_of(file) == "json" else [file]


def check_header(path: Path) -> None:
    """Raise SourceError if the header of a safetensors file is larger than any network's."""
    with path.open("rb") as file:  # the first 8 bytes are the length, little-endian (the format's README)
        length = int.from_bytes(file.read(8), "little")
    if length > LARGEST_HEADER:
        raise SourceError(
            f"{path} has a header of {length} bytes; the maximum is {LARGEST_HEADER} (100,000 tensors). The file is "
            "damaged, is not a safetensors file, or does not contain a network's weights"
        )


def _read(path: Path, key: str | None) -> Contents:
    kind = format_of(path)
    if kind == "json":
        return _read_shards(path, key)
    if kind != "safetensors":
        return take_weights(load_pickled(path, kind), path, key)
    check_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise SourceError(f"{path} is not a safetensors file, or is truncated: {error}") from error
    taken = take_weights(state, path, key)
    return replace(taken, metadata=metadata)


def _read_shards(index: Path, key: str | None) -> Contents:
    """Return the weights of all shards that an index names."""
    where = _shards(index)
    state: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}
    for shard in sorted(set(where.values())):
        if not shard.is_file():
            raise SourceError(f"{index} names {shard.name}, which does not exist; copy all shards into its folder")
        contents = _read(shard, None)
        state |= contents.state
        metadata |= contents.metadata
    absent = [name for name in where if name not in state]
    if absent:
        raise SourceError(f"{where[absent[0]]} has no {absent[0]}, which {index.name} lists; copy the file again")
    taken = take_weights(state, index, key)
    return replace(taken, metadata=metadata)


def _shards(index: Path) -> dict[str, Path]:
    """Return the file that holds each tensor."""
    try:
        names: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files = {key: PurePosixPath(name) for key, name in names.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(
            f"{index} is JSON, but not an index of shards (weight_map); give --checkpoint the file with the weights"
        ) from error
    outside = next((file for file in files.values() if len(file.parts) != 1 or file.name == ".."), None)
    if outside is not None or not files:
        raise SourceError(f"{index} names {outside or 'no file'}; shards must be in the folder of their index")
    return {key: index.parent / file for key, file in files.items()}
