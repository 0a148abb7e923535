"""Environments of the servers that `benchmarks.serving` compares: this one, or separate ones with pinned requirements.

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
    """Environment in which a server is installed."""

    @property
    def python(self) -> str:
        """Path of its Python interpreter."""

    @property
    def available(self) -> bool:
        """True if the server is installed."""

    @property
    def install(self) -> str:
        """Command that installs the server."""


@dataclass(frozen=True)
class Beside:
    """The current environment; the server is available if a module is importable."""

    module: str
    python = sys.executable
    install = "pip install -c constraints.txt -e '.[benchmarks]'"

    @property
    def available(self) -> bool:
        """True if the module is importable."""
        return importlib.util.find_spec(self.module) is not None


@dataclass(frozen=True)
class Apart:
    """A separate virtual environment.

    Args:
        name: name of the requirements file, without `.txt`.
        folder: parent folder of the environments.
    """

    name: str
    folder: Path = FOLDER

    @property
    def python(self) -> str:
        """Path of its Python interpreter, whether it exists or not."""
        return str(self.folder / self.name / "bin" / "python")

    @property
    def available(self) -> bool:
        """True if `make` completed with the current requirements."""
        return self._made.is_file() and self._made.read_text(encoding="utf-8") == self._wanted

    @property
    def install(self) -> str:
        """Command that creates the environment."""
        return f"python -m benchmarks.contenders {self.name}"

    def make(self) -> None:
        """Create the environment and install the requirements, unless it is available.

        Raises:
            subprocess.CalledProcessError: venv or pip failed, and printed why; the next call starts over.
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
