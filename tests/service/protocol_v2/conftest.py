"""Real server process, and NVIDIA's tritonclient."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tritonclient.http import InferenceServerClient

from tests.service.process import Running, serving


@pytest.fixture(scope="package")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Server of `repository` of tests/service/conftest.py, without API keys."""
    flags = ("--port", "0", "--repository", str(repository), "--threads", "2", "--max-body-bytes", "1000000")
    with serving(tmp_path_factory.mktemp("server"), *flags) as running:
        yield running
    assert "Traceback" not in running.log.read_text()


@pytest.fixture
def triton(server: Running) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(server.url.removeprefix("http://")) as client:
        yield client
