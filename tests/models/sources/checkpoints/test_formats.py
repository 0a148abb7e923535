"""Formats of checkpoints, detected from the bytes; files without weights are refused by their format."""

import argparse
import collections
import io
import pathlib
import pickle
import sys
import types
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from models.sources import Checkpoint, SourceError
from models.sources.checkpoints import Contents, read_checkpoint
from models.sources.checkpoints.reading import files_of

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


def read(file: Path) -> Contents:
    return read_checkpoint(Checkpoint(file))


def is_state(contents: Contents) -> bool:
    return contents.state.keys() == STATE.keys() and all(torch.equal(contents.state[key], STATE[key]) for key in STATE)


@pytest.mark.parametrize("name", ["b.bin", "last.ckpt", "model_best.pth.tar", "W.PTH", "none", "x.onnx"])
def test_the_bytes_determine_the_format_not_the_suffix(name: str, tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / name)
    assert is_state(read(tmp_path / name))
    torch.save(STATE, tmp_path / name, _use_new_zipfile_serialization=False)
    assert is_state(read(tmp_path / name))
    save_file(STATE, tmp_path / name)
    assert is_state(read(tmp_path / name))


def torchscript(file: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates it
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(file))


def saved_model(file: Path) -> None:
    file.write_bytes(b"\x08\x01\x12\xe5\x01\n\x02")


def numpy_bytes(save: Callable[..., None]) -> bytes:
    buffer = io.BytesIO()
    save(buffer, np.zeros(2))
    return buffer.getvalue()


def keras(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", b"\x89HDF")


def other_zip(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("weights/model.pth", b"")


WRITERS: dict[str, Callable[[Path], object]] = {
    "git": lambda file: file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 22\n"),
    "html": lambda file: file.write_text("\n<!DOCTYPE html><html><head><title>404"),
    "onnx": lambda file: file.write_bytes(b"\x08\x0a\x12\x07pytorch\x1a\x03"),
    "jit": torchscript,
    "saved_model": saved_model,
    "h5": lambda file: file.write_bytes(b"\x89HDF\r\n\x1a\n\0\0\0\0"),
    "keras": keras,
    "tflite": lambda file: file.write_bytes(b"\x1c\0\0\0TFL3\x14\0"),
    "index": lambda file: file.write_bytes(b"\0" * 60 + bytes.fromhex("57fb808b247547db")),
    "npz": lambda file: file.write_bytes(numpy_bytes(np.savez)),
    "npy": lambda file: file.write_bytes(numpy_bytes(np.save)),
    "flax": lambda file: file.write_bytes(b"\x82\xa6params\x81"),
    "gzip": lambda file: file.write_bytes(b"\x1f\x8b\x08\0"),
    "zip": other_zip,
    "pickle": lambda file: file.write_bytes(pickle.dumps(STATE)),
    "json": lambda file: file.write_text('{"model_type": "vit"}'),
    "empty": lambda file: file.touch(),
    "bytes": lambda file: file.write_bytes(b"RIFF\0\0\0\0WAVE"),
}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("git", "Git LFS pointer.*git lfs pull"),
        ("html", "web page"),
        ("onnx", "an ONNX graph"),
        ("jit", r"TorchScript archive.*state_dict\(\)"),
        ("saved_model", "TensorFlow SavedModel"),
        ("h5", "HDF5 file, as Keras writes"),
        ("keras", "a Keras archive"),
        ("tflite", "TensorFlow Lite"),
        ("index", "TensorFlow checkpoint"),
        ("npz", r"NumPy archive \(\.npz\).*load it with timm"),
        ("npy", "NumPy array"),
        ("flax", "MessagePack file, as Flax writes"),
        ("gzip", "compressed with gzip; unpack it"),
        ("zip", "zip archive that torch.save did not write"),
        ("pickle", "a pickle that torch.save did not write"),
        ("json", "JSON, but not an index of shards"),
        ("empty", "is empty"),
        ("bytes", "starts with the bytes 52 49 46 46"),
    ],
)
def test_a_file_without_weights_is_refused_by_its_format(kind: str, message: str, tmp_path: Path) -> None:
    WRITERS[kind](tmp_path / "weights.pth")
    with pytest.raises(SourceError, match=message):
        read(tmp_path / "weights.pth")


@pytest.fixture
def foreign() -> Iterator[types.ModuleType]:
    """Return a package that is importable when the checkpoint is written but not when it is read."""
    module = types.ModuleType("omegaconf.dictconfig")

    class DictConfig:
        def __init__(self) -> None:
            self.learning_rate = 0.1

    class AttributeDict(dict[str, int]):
        pass

    for kind in (DictConfig, AttributeDict):
        kind.__module__, kind.__qualname__ = module.__name__, kind.__name__
        setattr(module, kind.__name__, kind)
    names = {"omegaconf": types.ModuleType("omegaconf"), module.__name__: module}
    sys.modules |= names
    yield module
    for name in names:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("new", [True, False])
def test_settings_of_a_training_run_beside_the_weights_are_not_loaded(
    new: bool, tmp_path: Path, foreign: types.ModuleType
) -> None:
    content = {
        "state_dict": STATE,
        "args": argparse.Namespace(lr=0.1, output=pathlib.PurePosixPath("out")),
        "best": np.float64(0.75),
        "history": collections.defaultdict(list, {"loss": [1.0]}),
        "config": foreign.DictConfig(),
        "hyper_parameters": foreign.AttributeDict(width=3),
    }
    torch.save(content, tmp_path / "last.ckpt", _use_new_zipfile_serialization=new)
    before = set(torch.serialization.get_safe_globals())
    del sys.modules[foreign.__name__], sys.modules["omegaconf"]
    assert is_state(read(tmp_path / "last.ckpt"))
    assert "omegaconf" not in sys.modules
    assert set(torch.serialization.get_safe_globals()) == before


def test_objects_that_may_run_code_are_refused_by_name(tmp_path: Path) -> None:
    torch.save({"state_dict": STATE, "fn": print}, tmp_path / "function.pth")
    with pytest.raises(SourceError, match=r"more than tensors: builtins\.print, and loading it could run code"):
        read(tmp_path / "function.pth")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pth")
    with pytest.raises(SourceError, match=r"a whole module \(torch\.nn\.modules\.linear\.Linear\)"):
        read(tmp_path / "module.pth")
    torch.save(STATE, tmp_path / "newer.pth", pickle_protocol=4)
    with pytest.raises(SourceError, match="pickle protocol 4"):
        read(tmp_path / "newer.pth")


def test_shards_are_read_by_their_index_and_a_missing_one_is_named(tmp_path: Path) -> None:
    torch.save({"a.weight": STATE["a.weight"]}, tmp_path / "pytorch_model-1.bin")
    save_file({"a.bias": STATE["a.bias"]}, tmp_path / "pytorch_model-2.bin")
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text('{"weight_map": {"a.weight": "pytorch_model-1.bin", "a.bias": "pytorch_model-2.bin"}}')
    assert is_state(read(index))
    assert is_state(read(tmp_path))
    assert [file.name for file in files_of(tmp_path)] == [index.name, "pytorch_model-1.bin", "pytorch_model-2.bin"]
    index.write_text('{"weight_map": {"a.weight": "../other.bin"}}')
    with pytest.raises(SourceError, match="must be in the folder of their index"):
        read(index)
    index.write_text('{"weight_map": {"a.weight": "pytorch_model-3.bin"}}')
    with pytest.raises(SourceError, match=r"names pytorch_model-3\.bin, which does not exist"):
        read(index)
    index.write_text('{"weight_map": {"b": "pytorch_model-1.bin"}}')
    with pytest.raises(SourceError, match=r"pytorch_model-1\.bin has no b"):
        read(index)


def test_a_folder_is_read_from_its_standard_weights_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"a folder without model\.safetensors"):
        read(tmp_path)
    torch.save(STATE, tmp_path / "pytorch_model.bin")
    assert is_state(read(tmp_path))
