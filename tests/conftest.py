"""Fixtures and settings for all tests."""

import fcntl
import functools
import gc
import os
import re
import signal
import sys
from collections.abc import Generator
from contextlib import ExitStack
from importlib.util import cache_from_source, find_spec
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
DIGITS = TESTS.parent / "examples" / "digits"
VARIANTS = sorted(file.stem for file in (DIGITS / "configs").glob("*.json"))
BACKEND = "POSBAKE_BACKEND"

LONG = (
    *("engines/test_rtx_digits.py", "export/test_zoo.py", "browser/test_quality.py", "export/test_digits_graphs.py"),
    *("export/triton_repository/test_in_triton.py", "browser/test_failures.py"),
    *("models/sources/test_library_modules.py", "export/test_class_token.py", "service/test_hostile_artifacts.py"),
    *("export/test_every_encoding.py", "export/test_textbook_networks.py", "browser/test_classify.py"),
    *("examples/test_digits_over_http.py", "export/test_to_onnx.py", "benchmarks/test_gpu_check.py"),
    *("engines/test_rtx_networks.py", "models/sources/test_library_sources.py", "browser/test_latency.py"),
    *("export/precision/test_command.py", "models/sources/test_sizes_timm.py", "export/process/test_interrupted.py"),
    *("export/precision/test_networks.py", "export/test_folded_networks.py", "browser/test_compare.py"),
    *("export/verify/test_targets.py", "export/passes/dynamic_batch/test_networks.py"),
    *("export/auditing/test_rtx_agreement.py", "service/backends/test_openvino.py", "models/sources/test_cream.py"),
    *("browser/test_encodings.py", "service/test_parsing_cost.py", "test_ort_telemetry.py"),
    *("service/transport/test_states.py", "export/report/test_page.py", "export/test_library_modules.py"),
    *("service/transport/test_draining.py", "examples/test_prepare.py", "export/test_what_is_kept.py"),
    *("service/transport/test_guard.py", "service/reloading/test_server_process.py", "test_readme.py"),
    *("service/processes/test_supervisor.py", "service/test_server.py"),
)
"""Files that take 10 s or more, which run first. Those that wait for servers, browsers and time limits run beside those
that compute, so that the cores are busy."""

EXAMPLES = 4
"""Number of parameter sets of a test that `make test-fast` runs, spread evenly over all."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add an option for the backend of tests that name none."""
    parser.addoption("--backend", default="onnxruntime", help="backend of tests that name none")


def pytest_configure(config: pytest.Config) -> None:
    """Set the backend of this process and the servers it starts; `auto` depends on what is installed."""
    os.environ[BACKEND] = config.getoption("--backend")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell's `&` disables SIGINT, also for children; tests interrupt processes that they start.
        signal.signal(signal.SIGINT, signal.default_int_handler)


gc.set_threshold(100_000, 50, 100)  # otherwise traversing traced graphs takes a tenth of the time


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Let one process of a fresh environment compile all modules, 25 s of CPU time, while the others wait for them."""
    libraries = find_spec("torch")
    with Path(__file__).open() as lock:
        if libraries and libraries.origin and not Path(cache_from_source(libraries.origin)).exists():
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                fcntl.flock(lock, fcntl.LOCK_SH)
        return (yield)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Skip files whose tests are all slow without importing them, because their libraries take seconds."""
    if config.getoption("markexpr") != "not slow":
        return None
    if collection_path.suffix != ".py":
        return collection_path == TESTS / "browser" or None
    return bool(re.search(r"^pytestmark = .*\bslow\b", collection_path.read_text(), re.MULTILINE)) or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests slow that need all digits variants or exceed `EXAMPLES`, and sort the long files first."""
    examples: dict[str, list[pytest.Item]] = {}
    for item in items:
        examples.setdefault(item.nodeid.partition("[")[0], []).append(item)
        if isinstance(item, pytest.Function) and "digits_repository" in item.fixturenames:
            item.add_marker("slow")
    for same in examples.values():
        for place, item in enumerate(same):
            if place * EXAMPLES // len(same) == (place - 1) * EXAMPLES // len(same):
                item.add_marker("slow")
    rank = {TESTS / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Compute once what would be computed again for each export and request.

    torch's tables are also used by exports that are not posbake's. httpx2 reads the system's certificates for each
    client, 30 ms. A garbage collection that traverses the imported modules takes 0.4 s, twice in each export.
    """
    if "export.tracing.graph" in sys.modules:
        import torch._dynamo  # noqa: F401 -- otherwise the first export imports it, after `gc.freeze`
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        from export.tracing.tables import tables_built_once

        session.config.add_cleanup((contexts := ExitStack()).close)
        contexts.enter_context(tables_built_once())
        ONNXRegistry.from_torchlib(opset_version=20)  # the default
    if "httpx2" in sys.modules:
        import httpcore2

        httpcore2.default_ssl_context = functools.cache(httpcore2.default_ssl_context)
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Return imported objects to garbage collection, because some bindings report leaks at exit."""
    gc.unfreeze()


@pytest.fixture(scope="session")
def digits_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with every variant of the digits model, exported as by `make demo`.

    The processes of a run share it. Each begins with another variant, and locks prevent exporting one twice.
    """
    from examples.digits.export import export_variant  # imports torch, which most tests do not need

    shared = tmp_path_factory.getbasetemp()
    first = 0
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent  # directory of the run, with one for each process in it
        first = int(worker.removeprefix("gw")) * len(VARIANTS) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    repository = shared / "digits"
    for variant in (*VARIANTS[first:], *VARIANTS[:first]):
        with (shared / f"digits-{variant}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if (repository / "digits" / variant).exists():
                continue  # exports are atomic
            assert export_variant(variant, repository) == 0
    return repository
