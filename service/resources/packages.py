"""Missing packages of posbake's extras, reported as one sentence instead of a traceback."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_OURS = ("artifact", "engines", "imaging", "service")


@contextmanager
def packages_required(command: str) -> Iterator[None]:
    """End the process with status 1 and the remedy if an import in the block fails because a package is not installed.

    Args:
        command: command for the message: `python -m service`.

    Raises:
        SystemExit: a package is not installed.
        ModuleNotFoundError: a module of posbake itself is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if not package or package in _OURS:
            raise
        sys.exit(
            f"{command}: package {package} is not installed; pip install 'posbake[service]', or 'posbake[gpu]' on a "
            "GPU host"
        )
