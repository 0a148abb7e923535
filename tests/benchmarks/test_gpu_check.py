"""GPU check on the CPU: verifies that its parts run, not their results on a GPU."""

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu.part import ROOT, Settings, name_of
from benchmarks.gpu.running import Planned
from benchmarks.gpu_check import NETWORKS, PARTS, main
from tests.artifact.hostile import edit
from tests.conftest import DIGITS

pytestmark = pytest.mark.slow

NETWORK = f"posbake:{DIGITS}/configs/none.json"


def planned(*names: str, limit: float = 60) -> list[Planned]:
    return [Planned(name, f"tests.benchmarks.parts:{name}", limit) for name in names]


def results(output: Path) -> dict[str, Any]:
    """Return the written results by the name of the part."""
    found = json.loads((output / "gpu_check.json").read_text())
    return {part["name"]: part for part in found["parts"]}


def check(output: Path, parts: Sequence[Planned], *options: str) -> tuple[int, dict[str, Any]]:
    status = main(["--device", "cpu", "--output", str(output), *options], parts)
    return status, results(output)


def test_a_failing_part_does_not_stop_the_others_and_its_rows_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = planned(
        "done", "skipped", "missing_package", "missing_module", "failed", "raising", "failing_row", "crashing"
    )
    status, found = check(tmp_path, [*parts, *planned("hanging", limit=4), *parts[:1]])
    assert status == 1
    assert {name: (part["outcome"], len(part["rows"])) for name, part in found.items()} == {
        "done": ("done", 2),
        "skipped": ("skipped", 0),
        "missing_package": ("skipped", 0),
        "missing_module": ("failed", 0),
        "failed": ("failed", 1),
        "raising": ("failed", 0),
        "failing_row": ("done", 1),
        "crashing": ("failed", 1),
        "hanging": ("failed", 1),
    }
    assert found["missing_package"]["reason"].startswith("No module named 'no_package_of_that_name'")
    assert found["raising"]["reason"] == "ZeroDivisionError: by zero"
    assert found["crashing"]["reason"] == "its process was killed by SIGABRT; its output is in crashing.log"
    assert found["hanging"]["reason"] == "it took longer than 4 s"
    assert has_ended(int((tmp_path / "child").read_text()))
    text = capsys.readouterr().out
    assert text == (tmp_path / "gpu_check.md").read_text()
    assert "| skipped | skipped |" in text
    assert "there is no such \\| package" in text
    assert "| failing_row | failed |" in text
    assert "| first | 1.5 | cpu |  |" in text
    assert "| drain | 2 | failed |" in text


def has_ended(process: int) -> bool:
    stat = Path(f"/proc/{process}/stat")
    end = time.monotonic() + 5
    while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def test_a_part_that_cannot_start_within_the_time_limit_is_skipped(tmp_path: Path) -> None:
    status, found = check(tmp_path, planned("done"), "--limit", "0")
    assert status == 0
    assert (found["done"]["outcome"], found["done"]["rows"]) == ("skipped", [])
    assert "not started within the time limit of 0 s" in found["done"]["reason"]


def test_scripts_of_a_part_import_this_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "other"))
    (tmp_path / "other/export").mkdir(parents=True)
    (tmp_path / "other/export/__init__.py").touch()
    _, found = check(tmp_path, planned("path"))
    assert found["path"]["rows"][0]["figures"] == {"found": str(ROOT / "export")}


def test_an_unknown_part_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        check(tmp_path, PARTS, "--parts", "host,gost")
    assert "unknown part: gost" in capsys.readouterr().err


def test_settings_are_passed_to_the_parts_unchanged() -> None:
    settings = Settings("cpu", "a", "b", networks=NETWORKS, batches=(1, 2), seconds=0.5)
    assert Settings.from_json(settings.to_json()) == settings


@pytest.fixture
def artifacts(tmp_path: Path, digits_repository: Path) -> Path:
    """Artifacts of two digits variants and of a tiny network, in the layout of the part `export`."""
    for variant in ("swin-table", "none"):
        shutil.copytree(digits_repository / "digits" / variant, tmp_path / "artifacts/digits/digits" / variant)
    path = tmp_path / "artifacts/networks" / name_of(NETWORK) / "fp32/1"
    shutil.copytree(digits_repository / "digits/none/1", path)
    edit(path, lambda manifest: manifest.update(model=name_of(NETWORK), variant="fp32"))
    return tmp_path / "artifacts"


def test_the_parts_run_on_the_cpu(tmp_path: Path, artifacts: Path) -> None:
    chosen = (
        "host",
        "export",
        "golden",
        "service",
        "ours-plain",
        "ours-buffers",
        "ours-graphs",
        "torch-eager",
        "clients",
    )
    options = ["--networks", NETWORK, "--precisions", "fp32", "--batches", "1", "3", "--clients", "1", "4"]
    options += ["--artifacts", str(artifacts), "--images", "32", "--seconds", "0.1", "--parts", ",".join(chosen)]
    status, found = check(tmp_path / "output", PARTS, *options)
    assert status == 0, found
    assert {name: part["outcome"] for name, part in found.items()} == {
        **dict.fromkeys(chosen, "done"),
        "ours-graphs": "skipped",
    }
    rows = {name: {row["what"]: row["figures"] for row in part["rows"]} for name, part in found.items()}
    assert rows["export"] == {"missing exports": {"seconds": 0.0, "found": 0}}
    assert rows["golden"].keys() == {"digits/none/1", "digits/swin-table/1", "none/fp32/1"}
    assert rows["service"].keys() == {"start", "none", "swin-table", "batching", "reload", "drain"}
    assert rows["service"]["swin-table"]["top-1"] > 0.9
    assert rows["service"]["drain"]["exit status"] == 0
    for name in ("ours-plain", "ours-buffers", "torch-eager"):
        assert [row["figures"]["batch"] for row in found[name]["rows"]] == [1, 3]
        assert all(row["figures"]["images/s"] > 0 for row in found[name]["rows"])
    assert [row["figures"]["clients"] for row in found["clients"]["rows"]] == [1, 4]
    assert all(row["figures"]["failed"] == 0 for row in found["clients"]["rows"])
