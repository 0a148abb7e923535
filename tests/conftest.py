"""What more than one package of tests uses."""

import fcntl
import gc
import os
from pathlib import Path

import pytest

from export.to_onnx import main

gc.set_threshold(100_000, 50, 100)  # else a tenth of the time goes into traversing traced graphs

DIGITS = Path(__file__).parents[1] / "examples" / "digits"
VARIANTS = sorted(file.stem for file in (DIGITS / "configs").glob("*.json"))


def pytest_collection_finish() -> None:
    """Leave what was imported out of all collections: there are two in each export, of 0.4 s with it."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Let the end of the process collect what was imported: some bindings count what is left then."""
    gc.unfreeze()


@pytest.fixture(scope="session")
def digits_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with every shipped variant of the digits model, exported as `make demo` does.

    Processes of one run share it: the first to ask exports, the others wait for the lock.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent  # of one run, with a directory for each process in it
    repository = shared / "digits"
    with (shared / "digits.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for variant in VARIANTS:
            if (repository / "digits" / variant).exists():
                continue  # an export is there whole or not at all
            source = f"posbake:{DIGITS / 'configs' / variant}.json"
            checkpoint = DIGITS / "checkpoints" / f"{variant}.safetensors"
            assert main([source, "--checkpoint", str(checkpoint), "--output", str(repository), "--quiet"]) == 0
    return repository
