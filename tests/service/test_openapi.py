"""Requests by schemathesis that the OpenAPI document allows or forbids: no 5xx, and only documented responses."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from fastapi import FastAPI
from schemathesis import engine
from schemathesis.engine import events
from schemathesis.python.asgi import shutdown_lifespans

from service.app import create_app
from service.settings import Settings
from tests.service.artifacts import add_artifact

pytestmark = pytest.mark.slow

CHECKS = ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"]
EXAMPLES = 10  # for each operation, beside boundary values


@pytest.fixture
def app(tmp_path: Path) -> Iterator[FastAPI]:
    add_artifact(tmp_path)
    add_artifact(tmp_path, variant="float", dtype="float32")
    yield create_app(Settings(repository=tmp_path, threads=2, reload_seconds=0))
    shutdown_lifespans()  # schemathesis has started the app, and would stop it only when Python exits


def run(app: FastAPI) -> tuple[Counter[str], dict[str, str]]:
    """Return the number of responses of each operation, and the failures by the code that reproduces them."""
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    schema.config.phases.update(phases=["examples", "coverage", "fuzzing"])
    schema.config.checks.update(included_check_names=CHECKS)
    schema.config.checks.not_a_server_error.expected_statuses = ["2XX", "3XX", "4XX", "504"]  # timeout_ms=1 causes 504
    schema.config.generation.update(max_examples=EXAMPLES, deterministic=True, database="none")
    answers: Counter[str] = Counter()
    failures: dict[str, str] = {}
    for event in engine.from_schema(schema).execute():
        assert not isinstance(event, events.NonFatalError | events.FatalError), event
        if isinstance(event, events.ScenarioFinished):
            answers[event.recorder.label] += len(event.recorder.interactions)
            for checks in event.recorder.checks.values():
                for check in checks:
                    if check.failure_info is not None:
                        failures[check.failure_info.code_sample] = str(check.failure_info.failure)
    return answers, failures


def test_every_response_is_documented(app: FastAPI) -> None:
    answers, failures = run(app)
    assert failures == {}
    operations = [f"{method.upper()} {path}" for path, found in app.openapi()["paths"].items() for method in found]
    assert [operation for operation in operations if not answers[operation]] == []


def test_an_undocumented_response_is_found(app: FastAPI) -> None:
    document = app.openapi()
    for path in list(document["paths"]):
        if path != "/v1/models/{model}":
            del document["paths"][path]
    del document["paths"]["/v1/models/{model}"]["get"]["responses"]["404"]
    _, failures = run(app)
    assert any("404" in failure for failure in failures.values())
