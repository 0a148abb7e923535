"""`python:<package.module>:<function>`: the user's own network.

The function takes no arguments and returns the network, in eval mode, and how its images are prepared. Modules of the
directory that the command runs in can be imported, as with `python -m`.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import nn

from artifact import Preprocess
from models.sources.base import Checkpoint, Loaded, Overrides, Pretrained, RandomWeights, SourceError, Weights
from models.sources.checkpoints import read_checkpoint
from models.sources.checkpoints.advice import Advice
from models.sources.drawing import seeded
from models.sources.native import Native, finish, load_native, one_line, randomise_native
from models.sources.preprocessing import IMAGENET_MEAN, IMAGENET_STD

REASON = "it is your own"
EXAMPLE = {
    "resize": 256,
    "crop": (224, 224),
    "interpolation": "bicubic",
    "mean": IMAGENET_MEAN,
    "std": IMAGENET_STD,
}
"""A preparation, as an error shows it; its fields are those of `artifact.Preprocess`."""


def load(name: str, weights: Weights, overrides: Overrides) -> Loaded:
    """Call the user's function, and give the network that it returns its weights; `Pretrained` keeps the function's.

    Raises:
        SourceError: see `models.sources.load_source`.
    """
    source = f"python:{name}"
    if overrides.window_size is not None:
        raise SourceError(f"{source}: --window-size is not for networks of your own; build it so in the function")
    with _current_directory():
        function = _function(source, name)
        if isinstance(weights, RandomWeights):
            with seeded(weights.seed):
                returned = _call(source, function)
        else:
            returned = _call(source, function)
    network, preprocess = _network_and_preprocess(source, returned)
    size = overrides.image_size or preprocess.size
    notes: tuple[str, ...] = ()
    match weights:
        case RandomWeights(seed):
            randomise_native(source, network, seed, size)
        case Checkpoint():
            notes = load_native(network, read_checkpoint(weights), Advice(source))
        case Pretrained():
            pass  # the function has loaded them
    return finish(Native(source, source, network, preprocess, size, None, REASON, notes=notes))


@contextmanager
def _current_directory() -> Iterator[None]:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _function(source: str, name: str) -> Callable[[], object]:
    module_name, colon, function_name = name.partition(":")
    if not colon or not all(part.isidentifier() for part in (*module_name.split("."), function_name)):
        raise SourceError(f"{source}: expected python:PACKAGE.MODULE:FUNCTION")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            raise SourceError(
                f"{source}: there is no module {error.name}, seen from {Path.cwd()}; "
                "run from the directory that holds it, or install it"
            ) from error
        raise SourceError(f"{source}: importing {module_name} raises {one_line(error)}") from error
    except Exception as error:
        raise SourceError(f"{source}: importing {module_name} raises {one_line(error)}") from error
    function: Callable[[], object] | None = getattr(module, function_name, None)
    if not callable(function):
        others = [key for key, value in vars(module).items() if _is_own_function(value, module_name)]
        has = f"has {', '.join(others)}" if others else "has no functions"
        raise SourceError(f"{source}: {module_name} has no function {function_name}; it {has}")
    return function


def _is_own_function(value: object, module_name: str) -> bool:
    return callable(value) and not isinstance(value, type) and getattr(value, "__module__", None) == module_name


def _call(source: str, function: Callable[[], object]) -> object:
    try:
        return function()
    except Exception as error:
        raise SourceError(f"{source}: the function raises {one_line(error)}") from error


def _network_and_preprocess(source: str, returned: object) -> tuple[nn.Module, Preprocess]:
    network, preparation = returned if isinstance(returned, tuple) and len(returned) == 2 else (returned, None)
    if not isinstance(network, nn.Module):
        raise SourceError(
            f"{source}: the function returns {_kind(returned)}; expected (network, preprocessing), a torch.nn.Module "
            f"and a dict such as {EXAMPLE}"
        )
    if preparation is None:
        raise SourceError(
            f"{source}: nothing says how images are prepared; return (network, preprocessing), such as {EXAMPLE}"
        )
    training = next((name for name, module in network.named_modules() if module.training), None)
    if training is not None:
        where = f"its {training}" if training else "the network"
        raise SourceError(f"{source}: {where} is in train mode; call .eval() on the network before returning it")
    return network, _preprocess(source, preparation)


def _preprocess(source: str, preparation: Any) -> Preprocess:  # noqa: ANN401 -- whatever the user returned
    try:
        return Preprocess.model_validate(preparation)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'preprocessing'}: {item['msg']}" for item in error.errors()[:3]
        )
        raise SourceError(f"{source}: the preprocessing is not one: {problems}; expected such as {EXAMPLE}") from error


def _kind(returned: object) -> str:
    if isinstance(returned, tuple):
        return f"a tuple of {', '.join(type(part).__name__ for part in returned) or 'nothing'}"
    return type(returned).__name__
