"""Types of command line arguments. Empty text and paths are errors: they usually come from unset shell variables."""

import argparse
import json
import math
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

Kind = Callable[[str], object] | Collection[object] | None
"""Values of an option: a function that converts one, the values it may have, or None for a switch."""


class Options:
    """Arguments of a parser or of one of its groups, a call for each."""

    def __init__(self, parser: argparse._ActionsContainer) -> None:
        self.parser = parser

    def group(self, title: str) -> "Options":
        """Return a group."""
        return Options(self.parser.add_argument_group(title))

    def add(self, name: str, kind: Kind, explanation: str, metavar: str | None = None, **others: Any) -> None:  # noqa: ANN401 -- argparse's
        """Add an argument: its name, values, help text, name of a value, and other options of argparse."""
        if kind is None:
            others["action"] = "store_true"
        elif isinstance(kind, Collection):
            others |= {"choices": kind, "type": type(next(iter(kind)))}
        else:
            others["type"] = kind
        if metavar is not None:
            others["metavar"] = metavar
        self.parser.add_argument(name, help=explanation, **others)

    def add_output(self, quiet: str = "print errors only", document: str = "print the result as JSON") -> None:
        """Add --quiet and --json, which every command has."""
        self.add("--quiet", None, quiet)
        self.add("--json", None, document)


def text(argument: str) -> str:
    """Return an argument that is not blank. Raises ArgumentTypeError."""
    if not argument.strip():
        raise argparse.ArgumentTypeError("empty; omit the option, or give it a value")
    return argument


def path(argument: str) -> Path:
    """Return an argument that is not blank as a path. Raises ArgumentTypeError."""
    return Path(text(argument))


def positive(argument: str) -> int:
    """Return a whole number of at least 1. Raises ArgumentTypeError."""
    number = int(argument)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{argument} is below 1")
    return number


def at_least_zero(argument: str) -> float:
    """Return a finite number of at least 0. Raises ArgumentTypeError."""
    number = float(argument)
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{argument} is below 0 or not finite")
    return number


def names(argument: str) -> tuple[str, ...]:
    """Return comma-separated names. Raises ArgumentTypeError if one is blank."""
    return tuple(text(name).strip() for name in argument.split(","))


def share(argument: str) -> float:
    """Return a number from 0 to 1. Raises ArgumentTypeError."""
    number = float(argument)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{argument} is not between 0 and 1")
    return number


def size(argument: str) -> tuple[int, int]:
    """Return (height, width) in pixels from `N` or `HxW`. Raises ArgumentTypeError."""
    height, _, width = argument.partition("x")
    try:
        return positive(height), positive(width or height)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{argument!r} is neither N nor HxW, in pixels") from None


def option(argument: str) -> tuple[str, object]:
    """Return key and value of `KEY=VALUE`; the value is JSON, or Python's True, False or None, or a word.

    Raises:
        ArgumentTypeError: the argument has another form.
    """
    key, equals, value = argument.partition("=")
    if not key.isidentifier() or not equals:
        raise argparse.ArgumentTypeError(f"{argument!r} is not KEY=VALUE")
    words = {"True": True, "False": False, "None": None}
    try:
        return key, words[value] if value in words else json.loads(value)
    except json.JSONDecodeError:
        if value.isidentifier():
            return key, value
    raise argparse.ArgumentTypeError(f"{argument!r}: {value!r} is neither JSON nor one word; put text in double quotes")


def batch(argument: str) -> tuple[int, int]:
    """Return (MIN, MAX) of `N` or `MIN:MAX`. Raises ArgumentTypeError."""
    smallest, _, largest = argument.partition(":")
    try:
        sizes = positive(smallest), positive(largest or smallest)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{argument!r} is neither N nor MIN:MAX") from None
    if sizes[0] > sizes[1]:
        raise argparse.ArgumentTypeError(f"{argument!r}: MIN is above MAX")
    return sizes


def profile(argument: str) -> tuple[int, int, int]:
    """Return (MIN, OPT, MAX) of `N` or `MIN:OPT:MAX`. Raises ArgumentTypeError."""
    parts = argument.split(":")
    try:
        sizes = [positive(part) for part in (parts * 3 if len(parts) == 1 else parts)]
        smallest, best, largest = sizes
    except ValueError:
        raise argparse.ArgumentTypeError(f"{argument!r} is neither N nor MIN:OPT:MAX") from None
    if not smallest <= best <= largest:
        raise argparse.ArgumentTypeError(f"{argument!r}: MIN, OPT and MAX are not in ascending order")
    return smallest, best, largest


def gibibytes(argument: str) -> int:
    """Return the number of bytes in a number of GiB above 0. Raises ArgumentTypeError."""
    number = float(argument)
    if not 0 < number < 2**20:
        raise argparse.ArgumentTypeError(f"{argument} is not a number of GiB above 0")
    return round(number * 2**30)
