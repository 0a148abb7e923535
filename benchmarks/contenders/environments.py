"""Environments of the contenders of `benchmarks.serving`: ours, or separate ones with pinned requirements.

A separate environment is `.venv-contenders/NAME`, with the exact versions in `NAME.txt` beside this file.
"""

import importlib.util
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

REQUIREMENTS = Path(__file__).parent
FOLDER = REQUIREMENTS.parents[1] / ".venv-contenders"


class Environment(Protocol):
    """Environment in which a contender is installed."""

    @property
    def python(self) -> str:
        """The Python it runs in."""

    @property
    def available(self) -> bool:
        """True if it is installed."""

    @property
    def install(self) -> str:
        """The command that brings it."""


@dataclass(frozen=True)
class Beside:
    """This environment; without the module, the contender is missing."""

    module: str
    python = sys.executable
    install = "pip install -c constraints.txt -e '.[benchmarks]'"

    @property
    def available(self) -> bool:
        """True if the module is found."""
        return importlib.util.find_spec(self.module) is not None


@dataclass(frozen=True)
class Apart:
    """An environment of its own.

    Args:
        name: name of the contender's requirements, without `.txt`.
        folder: that holds such environments.
    """

    name: str
    folder: Path = FOLDER

    @property
    def python(self) -> str:
        """Its Python, also while there is none yet."""
        return str(self.folder / self.name / "bin" / "python")

    @property
    def available(self) -> bool:
        """True if `make` has ended, with the requirements as they are now."""
        return self._made.is_file() and self._made.read_text(encoding="utf-8") == self._wanted

    @property
    def install(self) -> str:
        """The command that makes it."""
        return f"python -m benchmarks.contenders {self.name}"

    def make(self) -> None:
        """Make it anew and install into it, unless it is there.

        Raises:
            subprocess.CalledProcessError: venv or pip failed and has said why; what is there is made anew next time.
        """
        if self.available:
            return
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(self.folder / self.name)], check=True)  # noqa: S603
        requirements = str(REQUIREMENTS / f"{self.name}.txt")
        subprocess.run(  # noqa: S603
            [self.python, "-m", "pip", "install", "--quiet", "--no-deps", "--requirement", requirements], check=True
        )
        subprocess.run([self.python, "-m", "pip", "check"], check=True)  # noqa: S603
        self._made.write_text(self._wanted, encoding="utf-8")

    @property
    def _made(self) -> Path:
        return self.folder / self.name / "made-from.txt"

    @property
    def _wanted(self) -> str:
        return (REQUIREMENTS / f"{self.name}.txt").read_text(encoding="utf-8")


NAMES = tuple(sorted(file.stem for file in REQUIREMENTS.glob("*.txt")))
