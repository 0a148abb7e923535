"""`python -m tests.triton.environment`: create `.venv-triton`, an environment with Triton, if it does not exist.

Exit status 0: the environment exists; 1: Triton is not available (the reason is printed), and its tests are skipped.
"""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".venv-triton"
PYTHON = FOLDER / "bin" / "python"
BACKENDS = FOLDER / "backends"

_REQUIREMENTS = Path(__file__).with_name("requirements.txt")
_MADE = FOLDER / "made-from.txt"
_SITE = FOLDER / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
_TRITON = _SITE / "pytriton" / "tritonserver"
SERVER = _TRITON / "bin" / "tritonserver"
LIBRARIES = _SITE / "nvidia_pytriton.libs"


def available() -> bool:
    """Return whether the environment exists and was made from the current requirements."""
    return _MADE.is_file() and _MADE.read_text(encoding="utf-8") == _REQUIREMENTS.read_text(encoding="utf-8")


def main() -> int:
    """Create the environment, and return the exit status."""
    if available():
        return 0
    try:
        _make()
    except subprocess.CalledProcessError as error:
        sys.stderr.write(f"Triton is not available, its tests are skipped: {error.cmd[0]} failed, see above\n")
        return 1
    return 0


def _make() -> None:
    subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(FOLDER)], check=True)
    install = [sys.executable, "-m", "uv", "pip", "install", "--python", str(PYTHON), "--quiet", "--no-deps"]
    subprocess.run([*install, "--only-binary", ":all:", "--requirement", str(_REQUIREMENTS)], check=True)
    python_backend = BACKENDS / "python"
    shutil.copytree(_TRITON / "backends" / "python", python_backend)
    for file in (_TRITON / "python_backend_stubs" / f"3.{sys.version_info.minor}").iterdir():
        shutil.copy(file, python_backend)
        (python_backend / file.name).chmod(0o755)
    _MADE.write_text(_REQUIREMENTS.read_text(encoding="utf-8"), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
