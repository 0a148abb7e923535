"""`predict`: the server's predictions in a resumable file."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet
import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.offline.__main__ import main
from service.offline.errors import OfflineError
from service.offline.files import ImageFile
from service.offline.running import Result, Runner, running
from service.offline.stopping import Stopping
from service.settings import Settings
from tests.service.artifacts import add_artifact
from tests.service.offline.servables import servable_of
from tests.service.pictures import encode, png_claiming, random_pixels
from tests.service.scripted import NOT_A_NUMBER, POISON, SLOW, ScriptedBackend, fresh, picture

pytestmark = pytest.mark.slow

ENDING = """
import os, sys
from pathlib import Path
from service.offline import output
from service.offline.__main__ import main

added, rows = output.Output.add, 0

def add(self, row, **failed):
    global rows
    rows += 1
    added(self, row, **failed)
    if rows == 11:
        self.flush()
        print(Path(f"/proc/self/task/{os.getpid()}/children").read_text(), flush=True)
        os.kill(os.getpid(), int(sys.argv[1]))

output.Output.add = add
sys.exit(main(sys.argv[2:]))
"""
"""Command that prints the process ids of its children and sends itself a signal after 11 rows."""


def predict(*arguments: object) -> int:
    return main(["predict", *map(str, arguments), "--quiet"])


def without_times(path: Path) -> list[dict[str, str]]:
    if path.suffix == ".parquet":
        rows: list[dict[str, str]] = pyarrow.parquet.read_table(path).to_pylist()
        return [{name: cell for name, cell in row.items() if "_ms" not in name} for row in rows]
    with path.open(newline="") as file:
        return [{name: cell for name, cell in row.items() if "_ms" not in name} for row in csv.DictReader(file)]


def test_rows_equal_the_servers_predictions(colours: Path, pictures: Path, tmp_path: Path) -> None:
    output = tmp_path / "p.jsonl"
    assert predict(pictures, "--repository", colours, "--output", output, "--top-k", 3) == 0
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["path"] for row in rows] == sorted(map(str, pictures.rglob("*.png")))
    assert all(row["artifact"] == "colours/mean/1" and min(row["latency_ms"].values()) > 0 for row in rows)
    with TestClient(create_app(Settings(repository=colours))) as client:
        for row in rows[::7]:
            answer = client.post("/v1/classify", params={"top_k": 3}, content=Path(row["path"]).read_bytes())
            assert row["predictions"] == answer.json()["predictions"]


def test_damaged_files_are_rows_with_the_reason(colours: Path, pictures: Path, tmp_path: Path) -> None:
    whole = (pictures / "red" / "00.png").read_bytes()
    bad = {
        "cut.png": whole[:-30],
        "empty.png": b"",
        "huge.png": png_claiming(60_000, 60_000),
        "page.jpg": b"<!doctype html><p>",
    }
    for name, content in bad.items():
        (pictures / name).write_bytes(content)
    (pictures / "lost.png").symlink_to("nowhere")
    output = tmp_path / "p.csv"
    assert predict(pictures, "--repository", colours, "--output", output) == 0
    reasons = {Path(row["path"]).name: row["error"] for row in without_times(output) if row["error"]}
    assert reasons.keys() == {*bad, "lost.png"}
    assert reasons["lost.png"] == "the file is missing"
    assert "3600000000 pixels" in reasons["huge.png"] or "60000×60000" in reasons["huge.png"]
    assert "HTML" in reasons["page.jpg"]
    assert sum(not row["error"] for row in without_times(output)) == 30


def test_images_in_the_output_do_not_run_again(
    colours: Path,
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (pictures / "damaged.png").write_bytes(b"\x89PNG")
    monkeypatch.setenv("FORCE_COLOR", "1")  # the progress bar is shown
    output = tmp_path / "p.csv"
    assert predict(pictures / "red", "--repository", colours, "--output", output) == 0
    first = output.read_bytes()
    assert main(["predict", str(pictures), "--repository", str(colours), "--output", str(output), "--json"]) == 0
    assert output.read_bytes().startswith(first)
    printed = capsys.readouterr()
    summary = json.loads(printed.out)
    assert (summary["written"], summary["skipped"], summary["errors"]) == (21, 10, 1)
    assert "21/21" in printed.err
    assert "1 unreadable" in printed.err
    assert len(without_times(output)) == 31
    assert main(["predict", str(pictures), "--repository", str(colours), "--output", str(output)]) == 0
    assert "0 rows, 0 of them errors, 31 skipped; 0.0 s, 0 images/s (colours/mean/1)\n" in capsys.readouterr().err


def test_a_network_that_cannot_be_opened_has_no_summary(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_artifact(tmp_path / "repository", logits="unrunnable")
    arguments = ["predict", str(pictures), "--repository", str(tmp_path / "repository")]
    assert main([*arguments, "--output", str(tmp_path / "p.csv"), "--json"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "the graph" in printed.err


@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_the_output_of_an_interrupted_and_resumed_run_equals_that_of_a_whole_one(
    colours: Path, pictures: Path, tmp_path: Path, number: signal.Signals, status: int, suffix: str
) -> None:
    (pictures / "damaged.png").write_bytes(b"\x89PNG")
    arguments = [str(pictures), "--repository", str(colours), "--output"]
    ended, whole = tmp_path / f"ended{suffix}", tmp_path / f"whole{suffix}"
    command = [sys.executable, "-c", ENDING, str(int(number)), "predict", *arguments, str(ended), "--quiet"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == status, run.stderr
    killed_parquet = suffix == ".parquet" and number == signal.SIGKILL
    rows = without_times(tmp_path / "ended.parquet.csv" if killed_parquet else ended)
    assert (len(rows) == 11) if number == signal.SIGKILL else (11 <= len(rows) <= 31)
    assert predict(*arguments, ended) == predict(*arguments, whole) == 0
    assert without_times(ended) == without_times(whole)


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[Runner]:
    add_artifact(tmp_path / "scripted")
    settings = Settings(repository=tmp_path / "scripted", backend="scripted", resizer="scripted", threads=2)
    with fresh():
        servable = servable_of(settings)
        with running(servable, settings) as runner:
            yield runner
        servable.backend.close()


def write_reds(folder: Path, reds: list[int]) -> list[ImageFile]:
    folder.mkdir()
    for number, red in enumerate(reds):
        (folder / f"{number:03}.png").write_bytes(picture(red))
    return [ImageFile(str(path)) for path in sorted(folder.iterdir())]


def itself(result: Result) -> Result:
    return result


def test_an_image_on_which_the_network_fails_fails_alone(scripted: Runner, tmp_path: Path) -> None:
    files = write_reds(tmp_path / "reds", [1, 2, POISON, 3, NOT_A_NUMBER, 4])
    results = list(scripted.run(files, itself, Stopping()))
    assert [result.file for result in results] == files
    assert [int(result.output[0]) for result in results if result.output is not None] == [1, 2, 3, 4]
    assert "the network failed on this image" in results[2].error
    assert "not all finite" in results[4].error


def test_a_failed_backend_is_restarted_and_no_image_is_lost(scripted: Runner, tmp_path: Path) -> None:
    files = write_reds(tmp_path / "reds", list(range(60)))
    results = []
    for result in scripted.run(files, itself, Stopping()):
        results.append(result)
        if len(results) == 3:
            ScriptedBackend.broken.add("mean")
            threading.Timer(0.3, ScriptedBackend.broken.clear).start()
    assert [int(result.output[0]) for result in results if result.output is not None] == list(range(60))
    assert len(ScriptedBackend.opened) > 1


def test_a_backend_that_fails_repeatedly_ends_the_run(
    scripted: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripted._workers.restarts, "_first_pause", 0.01)
    ScriptedBackend.broken.add("mean")
    with pytest.raises(OfflineError, match=r"colours/mean/1 fails repeatedly.*--backend"):
        list(scripted.run(write_reds(tmp_path / "reds", [1, 2, 3]), itself, Stopping()))


def test_an_image_whose_decode_hangs_does_not_delay_the_others(tmp_path: Path) -> None:
    add_artifact(tmp_path / "scripted")
    given = {"backend": "scripted", "resizer": "scripted", "threads": 2, "decode_timeout_ms": 200}
    settings = Settings.model_validate({"repository": tmp_path / "scripted", **given})
    files = write_reds(tmp_path / "reds", [1, SLOW, 2, 3])
    with fresh():
        servable = servable_of(settings)
        with running(servable, settings) as runner:
            results = list(runner.run(files, itself, Stopping()))
            ScriptedBackend.gate.set()
        servable.backend.close()
    assert [result.output is None for result in results] == [False, True, False, False]
    assert "decoding took longer than the allowed 200 ms" in results[1].error


def test_the_number_of_images_in_progress_is_limited_by_the_window(scripted: Runner, tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(encode(random_pixels()))
    listed: list[int] = []

    def files() -> Iterator[ImageFile]:
        for number in range(1000):
            listed.append(number)
            yield ImageFile(str(tmp_path / "one.png"))

    ahead = [len(listed) - number for number, _ in enumerate(scripted.run(files(), itself, Stopping()))]
    assert len(ahead) == 1000
    assert max(ahead) <= scripted.window
    assert scripted.window <= 32  # for two threads


def test_after_a_signal_started_images_are_finished_and_no_others_start(scripted: Runner, tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(encode(random_pixels()))
    stopping = Stopping()
    count = 0
    with pytest.raises(KeyboardInterrupt), stopping.signals(), stopping.deferred():
        for _ in scripted.run((ImageFile(str(tmp_path / "one.png")) for _ in range(10_000)), itself, stopping):
            count += 1
            if count == 10:
                os.kill(os.getpid(), signal.SIGINT)
    assert 10 <= count <= 10 + scripted.window


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["a.png", "--output", "p.tsv"], ".csv, .jsonl or .parquet"),
        (["a.png"], "required: --output"),
        (["a.png", "--output", "p.csv", "--top-k", "0"], "0 is below 1"),
        (["--output", "p.csv"], "required: PATH"),
    ],
)
def test_usage_errors_are_reported_before_slow_imports(arguments: list[str], reason: str) -> None:
    script = (
        "import sys\nfrom service.offline.__main__ import main\n"
        "try:\n    main(['predict', *sys.argv[1:]])\nfinally:\n    assert not {'numpy', 'PIL', 'rich'} & {*sys.modules}"
    )
    run = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert reason in run.stderr
    assert "Traceback" not in run.stderr


def test_an_invalid_environment_variable_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POSBAKE_MAX_PIXELS", "many")
    assert predict("a.png", "--output", "p.csv") == 2
    assert "POSBAKE_MAX_PIXELS" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--repository", "missing"], "cannot read repository missing"),
        (["--model", "birds"], "there is no model 'birds'"),
        (["--variant", "median"], "there is no variant 'median' of model 'colours'; known: float, mean, nan"),
        ([], "there are several variants of model 'colours': float, mean, nan; name one with --variant"),
        (["--variant", "mean", "--version", "3"], "has no version 3; known: 1, 2, 10"),
        (["--variant", "mean", "--backend", "abacus"], "backend 'abacus' is unknown"),
    ],
)
def test_an_unknown_network_is_an_error_that_lists_the_known_ones(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    arguments = arguments if "--repository" in arguments else [*arguments, "--repository", str(repository)]
    assert predict(tmp_path, "--output", tmp_path / "p.csv", *arguments) == 1
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "p.csv").exists()
