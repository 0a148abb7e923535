"""Types of command line arguments: text and paths that are not empty, as they are where a shell variable is not set."""

import argparse
from pathlib import Path


def text(argument: str) -> str:
    """Return an argument that is not blank. Raises ArgumentTypeError."""
    if not argument.strip():
        raise argparse.ArgumentTypeError("it is empty; leave the option out, or give it a value")
    return argument


def path(argument: str) -> Path:
    """Return an argument that is not blank as a path. Raises ArgumentTypeError."""
    return Path(text(argument))
