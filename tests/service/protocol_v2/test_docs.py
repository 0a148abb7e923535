"""docs/api.md agrees with the protocol."""

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.service.pictures import encode, random_pixels
from tests.service.process import Running

PAGE = (Path(__file__).parents[3] / "docs" / "api.md").read_text()


def test_the_page_documents_exactly_the_served_paths(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    served = {
        (path.replace("/versions/{version}", ""), method.upper())
        for path, operations in paths.items()
        for method in operations
        if path.startswith("/v2")
    }
    assert set(re.findall(r"^\| `(/v2[^`]*)` \| ([A-Z]+) \|", PAGE, re.MULTILINE)) == served


def test_every_model_path_exists_for_a_version_too(client: TestClient) -> None:
    paths = set(client.get("/openapi.json").json()["paths"])
    of_model = {path for path in paths if re.match(r"/v2/models/\{name\}(/[a-z]+)?$", path)}
    assert len(of_model) == 5
    assert {path.replace("{name}", "{name}/versions/{version}") for path in of_model} <= paths


def test_the_python_example_runs(
    server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for written, here in (("127.0.0.1:8000", server.url.removeprefix("http://")), ("digits@learned", "colours@mean")):
        assert written in example
        example = example.replace(written, here)
    (tmp_path / "digit.png").write_bytes(encode(random_pixels()))
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "docs/api.md", "exec"), {})
    assert re.fullmatch(r"\[\[(b'-?\d+\.\d{6}:\d:[a-z]+' ?){3}\]\]\n", capsys.readouterr().out)
