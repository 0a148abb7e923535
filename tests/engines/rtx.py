"""TensorRT-RTX, which builds engines without a GPU; tests are skipped where it is not installed.

`make rtx` installs it into the separate folder .rtx, because each user must accept NVIDIA's licence.
"""

import sys
from pathlib import Path

import pytest

from artifact import BuilderSettings, Profile
from engines import Build, BuildOptions, Library, LibraryMissingError, build_engine, load_library

INSTALLED = Path(__file__).resolve().parents[2] / ".rtx"
PROFILE = Profile(min=1, opt=4, max=8)


def rtx_or_skip() -> Library:
    """Return TensorRT-RTX, or skip the test."""
    if str(INSTALLED) not in sys.path:
        sys.path.append(str(INSTALLED))  # last, so that packages of .venv take precedence
    try:
        return load_library("rtx")
    except LibraryMissingError as error:
        pytest.skip(f"{error}; `make rtx` installs it into .rtx")


def build(graph: Path, profile: Profile = PROFILE) -> Build:
    """Return the engine of a graph, built ahead of time."""
    return build_engine(rtx_or_skip(), graph, BuildOptions(profile, BuilderSettings()), None)
