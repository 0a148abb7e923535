"""`python:PACKAGE.MODULE:FUNCTION` and `python:PATH/FILE.py:FUNCTION`: the user's network.

The function takes no arguments and returns the network and its preprocessing, which is optional for a module of timm.
Modules in the working directory can be imported, as with `python -m`; so can those in the file's directory and in the
directory above its packages.
"""

import importlib
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from artifact import Preprocess
from models.sources import timm
from models.sources.base import (
    Checkpoint,
    Loaded,
    Overrides,
    Pretrained,
    RandomWeights,
    SourceError,
    Weights,
    one_line,
    problems,
)
from models.sources.checkpoints import read_checkpoint
from models.sources.checkpoints.advice import Advice
from models.sources.checkpoints.fit import first_few
from models.sources.checkpoints.keys import fit_keys
from models.sources.drawing import seeded
from models.sources.library_module import GreyInput, fill, finish, randomise_module, without_adapters
from models.sources.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from models.sources.twin import script_modules
from models.sources.user_modules import UserModules, names_taken

EXPECTED = "expected python:PACKAGE.MODULE:FUNCTION or python:PATH/FILE.py:FUNCTION"
EXAMPLE = {
    "resize": 256,
    "crop": (224, 224),
    "interpolation": "bicubic",
    "mean": IMAGENET_MEAN,
    "std": IMAGENET_STD,
}
"""Example of a preprocessing in errors; its fields are those of `artifact.Preprocess`."""


def load(name: str, weights: Weights, overrides: Overrides) -> Loaded:
    """Call the user's function and load weights into the returned network; `Pretrained` keeps the function's weights.

    Raises:
        SourceError: see `models.sources.load_source`.
    """
    place, _, function_name = name.rpartition(":")
    if not place or not function_name.isidentifier():
        raise SourceError(f"python:{name}: {EXPECTED}")
    if place.endswith(".py"):
        file = Path(place).expanduser().absolute()
        source = f"python:{place}:{function_name}"
        shown = f"python:{file.name}:{function_name}"
        folders, module_name = _place_of(source, file)
        modules = UserModules(folders, names_taken(folders))
    else:
        source = shown = f"python:{name}"
        if not all(part.isidentifier() for part in place.split(".")):
            raise SourceError(f"{source}: {EXPECTED}")
        file, module_name = None, place
        modules = UserModules([Path.cwd()])
    if overrides.window_size is not None:
        raise SourceError(f"{source}: --window-size is not for networks of your own; set it in the function")
    with modules:
        module = _by_name(source, place) if file is None else _by_file(source, module_name, file)
        function = _function(source, module, function_name)
        if isinstance(weights, RandomWeights):
            with seeded(weights.seed):
                returned = _call(source, function)
        else:
            returned = _call(source, function)
    network, preprocess, notes = _network_and_preprocess(source, returned)
    modules.enter_around(network)
    size = overrides.image_size or preprocess.size
    match weights:
        case RandomWeights(seed):
            randomise_module(source, network, seed, size)
        case Checkpoint():
            own, advise = without_adapters(network), Advice(source)
            buffers = dict(own.named_buffers())
            contents = fit_keys(read_checkpoint(weights), own.state_dict(), advise, buffers=lambda: buffers)
            fill(own, contents, advise, recomputes=False)
            notes += contents.notes
        case Pretrained():
            pass  # the function has loaded the weights
    return finish(source, shown, network, preprocess, size, notes=notes)


def _place_of(source: str, file: Path) -> tuple[list[Path], str]:
    """Return the search folders of a file's imports, and the name of its module.

    The name of a file inside a package starts at the package; any other name starts at the working directory, if the
    file is below it.
    """
    if not file.is_file():
        raise SourceError(f"{source}: the file {file} does not exist")
    own, here, root = file.parent, Path.cwd(), file.parent
    while (root / "__init__.py").is_file():
        root = root.parent
    folders = [root, own, here]
    if root == own and own.is_relative_to(here):
        root = here
    parts = (*file.parent.relative_to(root).parts, file.stem)
    return folders, ".".join(parts) if all(part.isidentifier() for part in parts) else file.stem.replace(".", "_")


def _by_file(source: str, name: str, file: Path) -> ModuleType:
    """Import a file under a name, or under a derived name if another module has it."""
    try:
        package = name.rpartition(".")[0]
        if package:
            importlib.import_module(package)
        while name in sys.modules:
            module = sys.modules[name]
            if getattr(module, "__file__", None) == str(file):
                return module
            name += "_"
        loader = SourceFileLoader(name, str(file))
        spec = ModuleSpec(name, loader, origin=str(file))
        spec.has_location = True
        module = module_from_spec(spec)
        sys.modules[name] = module
        try:
            loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    except Exception as error:
        raise SourceError(f"{source}: importing {file.name} raises {one_line(error)}") from error
    return module


def _by_name(source: str, name: str) -> ModuleType:
    taken = names_taken([Path.cwd()])
    if name.partition(".")[0] in taken:
        raise SourceError(
            f"{source}: {name.partition('.')[0]} is also a package of posbake, which precedes yours; give the file: "
            f"python:{_file_of(name)}:{source.rpartition(':')[2]}"
        )
    hint = ""
    if taken:
        hint = (
            f". If it imports your {' or '.join(taken)}: a package of posbake of that name precedes yours, unless the "
            f"file is given: python:{_file_of(name)}:{source.rpartition(':')[2]}"
        )
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise SourceError(
                f"{source}: no module {error.name} in {Path.cwd()} or among the installed packages; "
                "run from the directory that holds it, or install it"
            ) from error
        raise SourceError(f"{source}: importing {name} raises {one_line(error)}{hint}") from error
    except Exception as error:
        shown = hint if isinstance(error, ImportError) else ""
        raise SourceError(f"{source}: importing {name} raises {one_line(error)}{shown}") from error


def _file_of(name: str) -> Path:
    """Return the file of a module, relative to the working directory."""
    path = Path(*name.split("."))
    package = path / "__init__.py"
    return package if package.is_file() else path.with_suffix(".py")


def _function(source: str, module: ModuleType, name: str) -> Callable[[], object]:
    function: Callable[[], object] | None = getattr(module, name, None)
    if not callable(function):
        own = (item for item in vars(module).items() if getattr(item[1], "__module__", None) == module.__name__)
        others = [key for key, value in own if callable(value) and not isinstance(value, type)]
        has = f"has {', '.join(others)}" if others else "has no functions"
        raise SourceError(f"{source}: {module.__name__} has no function {name}; it {has}")
    return function


def _call(source: str, function: Callable[[], object]) -> object:
    try:
        return function()
    except Exception as error:
        raise SourceError(f"{source}: the function raises {one_line(error)}") from error


def _network_and_preprocess(source: str, returned: object) -> tuple[nn.Module, Preprocess, tuple[str, ...]]:
    """Return the network in eval mode, its preprocessing, and a note for each automatic decision."""
    network, preparation = returned if isinstance(returned, tuple) and len(returned) == 2 else (returned, None)
    if not isinstance(network, nn.Module):
        raise SourceError(
            f"{source}: the function returns {_kind(returned)}; expected (network, preprocessing), a torch.nn.Module "
            f"and a dict such as {EXAMPLE}"
        )
    _check_kind(source, network)
    notes = []
    training = [name for name, module in network.named_modules() if module.training]
    if training:
        where = "the network" if training[0] == "" else f"its {training[0]}"
        notes.append(f"the function returned {where} in train mode; it was put into eval mode")
        network.eval()
    if preparation is None:
        preparation = timm.own_preprocess(source, network)
        if preparation is None:
            raise SourceError(
                f"{source}: the function returns a module without a preprocessing, a {type(network).__name__}; "
                f"return (network, preprocessing), a dict such as {EXAMPLE}"
            )
        notes.append("preprocessing is taken from the module's pretrained_cfg (timm)")
    grey = _of_one_channel(preparation)
    if grey is not None:
        network, preparation = GreyInput(network).eval(), grey
        notes.append("mean and std are of one channel: RGB is converted to grey in the graph (ITU-R 601 luma)")
    return network, _preprocess(source, preparation), tuple(notes)


def _check_kind(source: str, network: nn.Module) -> None:
    """Refuse TorchScript, and networks that are not in float32."""
    scripts = script_modules(network)
    if scripts:
        where = f"its {scripts[0]}" if scripts[0] else "the network"
        raise SourceError(f"{source}: {where} is TorchScript, which cannot be traced; return the original nn.Module")
    others = [
        f"{name} is {str(parameter.dtype).removeprefix('torch.')}"
        for name, parameter in network.named_parameters()
        if parameter.is_floating_point() and parameter.dtype != torch.float32
    ]
    if others:
        raise SourceError(
            f"{source}: {first_few(others)}, but the network must be float32; return network.float(), and choose the "
            "precision of the graph with --precision"
        )


def _of_one_channel(preparation: object) -> dict[str, object] | None:
    """Repeat the single mean and std of a preprocessing for three channels; None if it has no single mean and std."""
    if not isinstance(preparation, dict):
        return None
    alike = {
        key: tuple(part) * 3
        for key in ("mean", "std")
        if isinstance(part := preparation.get(key), tuple | list) and len(part) == 1
    }
    return {**preparation, **alike} if len(alike) == 2 else None


def _preprocess(source: str, preparation: Any) -> Preprocess:  # noqa: ANN401 -- returned by the user
    try:
        return Preprocess.model_validate(preparation)
    except ValidationError as error:
        found = problems(error, "preprocessing")
        raise SourceError(f"{source}: the preprocessing is invalid: {found}; expected one such as {EXAMPLE}") from error


def _kind(returned: object) -> str:
    if isinstance(returned, tuple):
        return f"a tuple of {', '.join(type(part).__name__ for part in returned) or 'nothing'}"
    return type(returned).__name__
