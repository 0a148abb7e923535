"""Conformance with Triton 2.51: equal status and form of the responses, except for listed differences.

The list is `DIFFERENCES` in conformance/differences.py, and a table in docs/api.md with the reasons.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from export.process.command import DONE
from export.to_triton import main
from tests.service.artifacts import WEIGHTS, add_artifact
from tests.service.process import serving
from tests.service.protocol_v2.conformance.case import OURS, TRITON, Case, Form, document_of, outcome
from tests.service.protocol_v2.conformance.differences import ACCEPTED, DIFFERENCES
from tests.service.protocol_v2.conformance.requests import CASES, WARM_UP
from tests.triton.server import skip_without_triton, triton_server

pytestmark = [pytest.mark.triton, pytest.mark.slow]

PAGE = Path(__file__).parents[3] / "docs" / "api.md"


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    skip_without_triton()
    path = tmp_path_factory.mktemp("conformance") / "artifacts"
    add_artifact(path, variant="mean", version=1, top1=0.9)
    add_artifact(path, variant="mean", version=2, top1=0.9, weights=-WEIGHTS)
    add_artifact(path, variant="float", dtype="float32")
    return path


@pytest.fixture(scope="module")
def triton(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    repository = artifacts.parent / "triton"
    assert main([str(artifacts), "--output", str(repository), "--quiet"]) == DONE
    with (
        triton_server(repository, tmp_path_factory.mktemp("triton")) as running,
        httpx2.Client(base_url=running.url, timeout=60) as client,
    ):
        for case in WARM_UP:
            assert case.send(client, TRITON).status_code == 200
        yield client


@pytest.fixture(scope="module")
def ours(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    flags = ("--port", "0", "--repository", str(artifacts), "--threads", "2", "--max-batch", "64")
    with (
        serving(tmp_path_factory.mktemp("ours"), *flags) as running,
        httpx2.Client(base_url=running.url, timeout=60) as client,
    ):
        for case in WARM_UP:
            assert case.send(client, OURS).status_code == 200
        yield client


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_status_and_form_equal_tritons(case: Case, triton: httpx2.Client, ours: httpx2.Client) -> None:
    theirs, our = outcome(case.send(triton, TRITON)), outcome(case.send(ours, OURS))
    difference = ACCEPTED.get(case.name)
    if difference is None:
        assert our == theirs
    else:
        assert our != theirs, "docs/api.md states a difference that does not exist"
        assert (theirs[0], our[0]) == (difference.triton, difference.posbake)
    for status, found in (theirs, our):
        assert status < 400 or case.method == "HEAD" or is_error(found)


def is_error(found: Form) -> bool:
    return found == ({"error": "str"}, 0)


def test_response_parameters_are_variant_and_batch_size_only(triton: httpx2.Client, ours: httpx2.Client) -> None:
    case = WARM_UP[0]
    theirs, _ = document_of(case.send(triton, TRITON))
    our, _ = document_of(case.send(ours, OURS))
    assert "parameters" not in theirs
    assert set(our["parameters"]) == {"variant", "batch_size"}
    assert our["outputs"][0]["data"] == pytest.approx(theirs["outputs"][0]["data"], rel=1e-5)


def test_every_difference_is_a_row_of_the_page_with_both_statuses() -> None:
    (table,) = re.findall(r"^### Differences from Triton\n.*?(^\|.*?)\n\n", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[2:]]
    stated = {what: (int(theirs[:3]), int(our[:3])) for what, theirs, our, _ in rows}
    own = {"parameters of a response": (200, 200)}
    assert stated == {each.row: (each.triton, each.posbake) for each in DIFFERENCES} | own
    assert all(reason for *_, reason in rows)
    assert set(ACCEPTED) <= {case.name for case in CASES}
