"""Reader for torch.save files: tensors and plain data only; code in a file is never executed.

`torch.load(weights_only=True)` reads them. Training scripts store settings beside the weights (argparse's Namespace,
OmegaConf, NumPy scalars, paths); an allow-list of such classes is replaced by an inert stand-in: the class itself is
neither imported nor called. Any other class is refused.
"""

import pickle
import pickletools
import re
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any

import torch

from models.sources.base import SourceError, one_line
from models.sources.checkpoints.fit import first_few
from models.sources.checkpoints.formats import Format

_MAPPINGS = re.compile(
    r"collections\.defaultdict|types\.MappingProxyType|.*\.(AttributeDict|EasyDict|ConfigDict|CfgNode|Box|DotMap|Dict)"
)
"""Classes that are filled like a dict."""

_SETTINGS = re.compile(
    r"argparse\.Namespace|types\.SimpleNamespace|typing\.\w+|"
    r"builtins\.(bool|bytes|dict|float|frozenset|int|list|object|range|slice|str|tuple|type)|"
    r"(collections|datetime|decimal|enum|fractions|numbers|pathlib|uuid)\.[\w.]+|"
    r"numpy\.[\w.]+|"
    r"torch\.torch_version\.TorchVersion|torchvision\.transforms\.functional\.InterpolationMode|"
    r"(omegaconf|hydra|ml_collections|yacs|fvcore|mmengine|mmcv|easydict|addict|box|dotmap|attr|pydantic)\.[\w.]+|"
    r"(detectron2\.config|lightning|lightning_fabric|lightning_utilities|pytorch_lightning)\.[\w.]+|"
    r"transformers\.(training_args|trainer_utils|trainer_pt_utils|utils\.generic|integrations)\.[\w.]+|"
    r"accelerate\.(utils|state)\.[\w.]+"
)
"""Names of classes for settings and metrics of a training run, never for weights."""

_PROTOCOL = 2  # pickle protocol that torch.save writes and the restricted reader supports
_LEGACY_PICKLES = 5  # pickles in a legacy file: magic number, protocol, system, contents, storage keys


class _Value:
    """Stand-in for an object of a class that is not loaded; its state is discarded."""

    def __new__(cls, *_: object) -> "_Value":
        return object.__new__(cls)

    def __setstate__(self, _: object) -> None:
        pass


class _Mapping:
    """Stand-in for a subclass of dict; it creates plain dicts."""

    def __new__(cls, *_: object) -> Any:  # noqa: ANN401 -- a dict on purpose; the restricted reader fills it
        return OrderedDict()


def load_pickled(path: Path, kind: Format) -> object:
    """Return the contents of a torch.save file, without executing any code in it.

    Raises:
        SourceError: it contains more than tensors and settings, or is damaged.
    """
    try:
        named = _globals(path, kind)
        unknown = sorted(name for name in named - _known() if _SETTINGS.fullmatch(name) is None)
        if unknown:
            raise SourceError(_refusal(path, unknown))
        stand_ins: list[Any] = [
            (_Mapping if _MAPPINGS.fullmatch(name) else _Value, name) for name in sorted(named - _known())
        ]
        with torch.serialization.safe_globals(stand_ins):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise SourceError(
            f"{path} contains more than tensors and plain settings, and loading it could run code; save its "
            "state_dict() alone, best as .safetensors"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError, OSError) as error:
        raise SourceError(f"{path} is not a checkpoint, or is truncated: {one_line(error)}") from error


def _known() -> set[str]:
    """Return the names that torch's restricted reader accepts."""
    from torch._weights_only_unpickler import _get_allowed_globals

    return set(_get_allowed_globals())


def _globals(path: Path, kind: Format) -> set[str]:
    """Return the qualified names of the classes and functions that a file refers to."""
    names: set[str] = set()
    if kind == "torch-legacy":
        with path.open("rb") as file:
            for _ in range(_LEGACY_PICKLES):
                names |= _globals_of(path, file)
        return names
    with zipfile.ZipFile(path) as archive:
        [member] = [name for name in archive.namelist() if name.partition("/")[2] == "data.pkl"]
        with archive.open(member) as file:
            return _globals_of(path, file)


def _globals_of(path: Path, file: IO[bytes]) -> set[str]:
    from torch._utils import IMPORT_MAPPING, NAME_MAPPING

    names = set()
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name == "PROTO" and argument != _PROTOCOL:
            raise SourceError(
                f"{path} was saved with pickle protocol {argument}, which cannot be read without executing it; save it "
                "again with torch.save(state_dict, FILE), best as .safetensors"
            )
        if opcode.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
            names.add(f"{module}.{name}")
    return names


def _refusal(path: Path, unknown: list[str]) -> str:
    is_module = any(name.startswith("torch.nn.modules.") for name in unknown)
    what = f"a whole module ({first_few(unknown)})" if is_module else first_few(unknown)
    return (
        f"{path} contains more than tensors: {what}, and loading it could run code; load it where it was trained and "
        "save its state_dict() alone, best as .safetensors"
    )
