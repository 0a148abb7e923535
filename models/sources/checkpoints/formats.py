"""Format of a checkpoint file, detected from its bytes: suffixes vary (`.pth.tar`, `.ckpt`, `.bin`, none)."""

import re
import zipfile
from pathlib import Path
from typing import Literal

from models.sources.base import SourceError

Format = Literal["safetensors", "torch", "torch-legacy", "json"]

LEGACY_MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""torch's magic number as a pickled integer, after the two-byte protocol header in files of torch before 1.6."""

_HEAD = 1024  # bytes that are read to recognise a file
_TABLE_MAGIC = bytes.fromhex("57fb808b247547db")  # the last bytes of a TensorFlow checkpoint's index
_PYTORCH = "posbake reads PyTorch weights; convert them with the library that published them"
_UNPACK = "unpack it and give --checkpoint the file inside"

_OTHERS = (
    (rb"version https://git-lfs", "a Git LFS pointer, not the file itself", "run `git lfs pull` in its repository"),
    (
        rb"(?i)\s*(<!doctype html|<html|<head)",
        "a web page (HTML)",
        "download the file itself, not the page that shows it",
    ),
    (rb"\s*<", "an XML file", "give --checkpoint the file with the weights"),
    (
        rb"\x08[\x02-\x20][\x12\x1a\x22\x2a\x32\x3a\x42]",
        "an ONNX graph",
        "give the checkpoint it was exported from",
    ),
    (rb"\x08\x01\x12", "a TensorFlow SavedModel", _PYTORCH),
    (rb"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes", _PYTORCH),
    (rb".{4}TFL3", "a TensorFlow Lite model", _PYTORCH),
    (rb"[\x81-\x8f\xde\xdf][\xa0-\xbf\xd9\x00]", "a MessagePack file, as Flax writes", _PYTORCH),
    (rb"\x93NUMPY", "a NumPy array", _PYTORCH),
    (rb"GGUF", "a GGUF file", _PYTORCH),
    (rb"\x1f\x8b", "compressed with gzip", _UNPACK),
    (rb"\xfd7zXZ\x00", "compressed with xz", _UNPACK),
    (rb"BZh", "compressed with bzip2", _UNPACK),
    (rb"\x28\xb5\x2f\xfd", "compressed with Zstandard", _UNPACK),
    (rb"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (rb".{257}ustar", "a tar archive", _UNPACK),
    (
        rb"\x80[\x00-\x05]|\(dp0|\(lp0",
        "a pickle that torch.save did not write",
        "save the state_dict() with torch.save, or best as .safetensors",
    ),
)
"""Files without PyTorch weights: pattern of the first bytes, description, remedy."""


def format_of(path: Path) -> Format:
    """Return the format of a checkpoint file.

    Raises:
        SourceError: the format is not supported; the message names it.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
        size = path.stat().st_size
        file.seek(max(size - len(_TABLE_MAGIC), 0))
        tail = file.read()
    if not head:
        raise SourceError(f"{path} is empty; copy or download it again")
    if head.startswith(b"PK\x03\x04"):
        return _of_zip(path)
    if head[2:].startswith(LEGACY_MAGIC):
        return "torch-legacy"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < max(size, 100_000_000):
        return "safetensors"
    if head.lstrip().startswith(b"{"):
        return "json"
    if tail == _TABLE_MAGIC or re.search(r"\.data-\d+-of-\d+$", path.name):
        raise SourceError(f"{path} is a TensorFlow checkpoint; {_PYTORCH}")
    for start, what, remedy in _OTHERS:
        if re.match(start, head, re.DOTALL):
            raise SourceError(f"{path} is {what}; {remedy}")
    raise SourceError(
        f"{path} is not a supported checkpoint: it starts with the bytes {head[:8].hex(' ')}; expected "
        "a file of torch.save or safetensors"
    )


def _of_zip(path: Path) -> Format:
    """Return the format of a zip archive, as torch has written since 1.6."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        raise SourceError(f"{path} is damaged or truncated: {error}; copy or download it again") from error
    inside = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inside or any(name.startswith("code/") for name in inside):
        raise SourceError(
            f"{path} is a TorchScript archive; give the weights of the original nn.Module: save its state_dict()"
        )
    if "data.pkl" in inside:
        return "torch"
    if "archive_format" in inside:
        raise SourceError(f"{path} is a program of torch.export; give the weights of its nn.Module: its state_dict()")
    if all(name.endswith(".npy") for name in names):
        raise SourceError(
            f"{path} is a NumPy archive (.npz), the format of JAX's vision transformers; load it with timm "
            "(timm.create_model(NAME, checkpoint_path=FILE)) and save that network's state_dict()"
        )
    if "model.weights.h5" in names:
        raise SourceError(f"{path} is a Keras archive; {_PYTORCH}")
    raise SourceError(f"{path} is a zip archive that torch.save did not write; {_UNPACK}")
