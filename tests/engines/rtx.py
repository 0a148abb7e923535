"""TensorRT-RTX, which builds without a GPU; tests are skipped with the reason where it is not installed.

`make rtx` installs it into a folder of its own, .rtx: its licence is between NVIDIA and the user who installs it.
"""

import sys
from pathlib import Path

import pytest

from artifact import BuilderSettings, Profile
from engines import Build, BuildOptions, Library, LibraryMissingError, build_engine, load_library

INSTALLED = Path(__file__).resolve().parents[2] / ".rtx"
PROFILE = Profile(min=1, opt=4, max=8)


def rtx_or_skip() -> Library:
    """Return TensorRT-RTX."""
    if str(INSTALLED) not in sys.path:
        sys.path.append(str(INSTALLED))  # last: nothing there takes the place of what .venv has
    try:
        return load_library("rtx")
    except LibraryMissingError as error:
        pytest.skip(f"{error}; `make rtx` installs it into .rtx")


def build(graph: Path, profile: Profile = PROFILE) -> Build:
    """Return the engine of a graph, built ahead of time."""
    return build_engine(rtx_or_skip(), graph, BuildOptions(profile, BuilderSettings()), None)
