"""Fixtures and settings for all tests."""

import fcntl
import gc
import os
import signal
from pathlib import Path

import pytest

from examples.digits.export import DIGITS as DIGITS
from examples.digits.export import VARIANTS as VARIANTS
from examples.digits.export import export_variant

BACKEND = "POSBAKE_BACKEND"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let all tests that name no backend run on another one."""
    parser.addoption("--backend", default="onnxruntime", help="what runs artifacts in tests that name no backend")


def pytest_configure(config: pytest.Config) -> None:
    """Name the backend for this process and the servers it starts: `auto` would depend on what is installed."""
    os.environ[BACKEND] = config.getoption("--backend")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell's `&` ignores it, for children too; tests interrupt what they start.
        signal.signal(signal.SIGINT, signal.default_int_handler)


gc.set_threshold(100_000, 50, 100)  # else a tenth of the time goes into traversing traced graphs


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out files whose tests are all slow without importing them: their libraries take seconds."""
    if config.getoption("markexpr") != "not slow" or collection_path.suffix != ".py":
        return None
    return "\npytestmark = pytest.mark.slow\n" in collection_path.read_text() or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests slow that need all digits variants."""
    for item in items:
        if isinstance(item, pytest.Function) and "digits_repository" in item.fixturenames:
            item.add_marker("slow")


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

    Processes of one run share it, and each begins with another variant; a lock keeps two from exporting the same one.
    """
    shared = tmp_path_factory.getbasetemp()
    first = 0
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent  # of one run, with a directory for each process in it
        first = int(worker.removeprefix("gw")) * len(VARIANTS) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    repository = shared / "digits"
    for variant in (*VARIANTS[first:], *VARIANTS[:first]):
        with (shared / f"digits-{variant}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if (repository / "digits" / variant).exists():
                continue  # an export is there whole or not at all
            assert export_variant(variant, repository) == 0
    return repository
