"""Output files: resumable wherever they were cut off; other files are refused and unchanged."""

import csv
import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest

from artifact import Manifest
from service.offline.arguments import OUTPUTS
from service.offline.errors import OutputError
from service.offline.files import ImageFile
from service.offline.formats import FORMATS
from service.offline.output import appending
from service.offline.rows import Format
from service.offline.running import STAGES, Result
from tests.service.artifacts import LABELS, add_artifact

PATHS = ["a.png", 'quotes "and, commas.png', "two\nlines.png", "carriage\rreturn.png", "\udcff.png", "ü.png"]
NAME = "colours/mean/1"
REAL_WRITE = os.write


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return add_artifact(tmp_path_factory.mktemp("output"))


def result(path: str) -> Result:
    if path == "ü.png":
        return Result(ImageFile(path), None, "the body is not an image; é", dict.fromkeys(STAGES, 0.0))
    return Result(ImageFile(path), np.array([1, 3, 2, 0], np.float32), "", dict.fromkeys(STAGES, 0.25))


def write(path: Path, form: Format, paths: list[str]) -> int:
    """Append missing rows, and return the number of rows that existed."""
    with appending(path, form, NAME) as output:
        for name in paths:
            if name not in output.done:
                output.add(form.row(result(name)))
        return len(output.done)


def form_of(suffix: str, manifest: Manifest, top_k: int = 2) -> Format:
    return FORMATS[suffix].rows(manifest, LABELS, top_k)


def test_the_command_line_names_all_formats() -> None:
    assert tuple(FORMATS) == OUTPUTS


def test_rows_of_csv(tmp_path: Path, manifest: Manifest) -> None:
    write(tmp_path / "p.csv", form_of(".csv", manifest), PATHS)
    with (tmp_path / "p.csv").open(newline="", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == PATHS
    assert [rows[0][name] for name in ("artifact", "label_1", "label_2", "error")] == [NAME, "green", "blue", ""]
    total = sum(np.exp([1, 3, 2, 0]))
    assert float(rows[0]["probability_1"]) == pytest.approx(np.exp(3) / total)
    assert [rows[0][f"{stage}_ms"] for stage in STAGES] == ["0.25"] * 4
    assert set(rows[-1].values()) == {"ü.png", NAME, "", "the body is not an image; é"}


def test_rows_of_json_lines(tmp_path: Path, manifest: Manifest) -> None:
    write(tmp_path / "p.jsonl", form_of(".jsonl", manifest), PATHS)
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert [row["path"] for row in rows] == PATHS
    assert [found["label"] for found in rows[0]["predictions"]] == ["green", "blue"]
    assert rows[0]["latency_ms"] == dict.fromkeys(STAGES, 0.25)
    assert rows[-1] == {"path": "ü.png", "artifact": NAME, "error": "the body is not an image; é"}


def test_a_regression_has_a_column_for_every_value(manifest: Manifest) -> None:
    values = manifest.model_copy(update={"task": "regression"})
    form = form_of(".csv", values, 1)
    assert form.header.startswith(
        b"path,artifact,label_1,value_1,label_2,value_2,label_3,value_3,label_4,value_4,read_ms"
    )
    assert form.row(result("a")).split(b",")[2:10] == b"red,1.0,green,3.0,blue,2.0,grey,0.0".split(b",")


def test_a_probability_of_zero_is_written_as_0_0(manifest: Manifest) -> None:
    sure = Result(ImageFile("a"), np.array([0, 1000, 0, 0], np.float32), "", dict.fromkeys(STAGES, 0.0))
    assert form_of(".csv", manifest, 2).row(sure).split(b",")[2:6] == [b"green", b"1.0", b"red", b"0.0"]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_an_output_is_resumed_wherever_it_was_cut_off(tmp_path: Path, manifest: Manifest, suffix: str) -> None:
    path, form = tmp_path / f"p{suffix}", form_of(suffix, manifest, 1)
    write(path, form, PATHS)
    whole = path.read_bytes()
    rows = set()
    for size in (*range(0, len(whole), 9), len(whole) - 1, len(whole)):
        path.write_bytes(whole[:size])
        rows.add(write(path, form, PATHS))
        assert path.read_bytes() == whole, size
    assert rows == set(range(len(PATHS) + 1))


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_an_unrelated_file_is_refused_and_unchanged(tmp_path: Path, manifest: Manifest, suffix: str) -> None:
    form = form_of(suffix, manifest)
    other = FORMATS[suffix].rows(manifest.model_copy(update={"version": 2}), LABELS, 2)
    good = form.header + form.row(result("a.png"))
    for content, reason in [
        (b"name,label\nx,y\n", "does not begin with"),
        (b"x", "does not begin with"),
        (other.header + other.row(result("a.png")) + b"torn", "predictions of colours/mean/2, not of colours/mean/1"),
        (good + b"damaged\n" + good, "line [23]"),
    ]:
        path = tmp_path / f"p{suffix}"
        path.write_bytes(content)
        with pytest.raises(OutputError, match=reason):
            write(path, form, PATHS)
        assert path.read_bytes() == content


def test_columns_of_another_top_k_are_refused(tmp_path: Path, manifest: Manifest) -> None:
    write(tmp_path / "p.csv", form_of(".csv", manifest, 2), PATHS)
    with pytest.raises(OutputError, match="label_3,probability_3"):
        write(tmp_path / "p.csv", form_of(".csv", manifest, 3), PATHS)


def test_a_second_run_into_the_same_file_is_refused(tmp_path: Path, manifest: Manifest) -> None:
    form = form_of(".csv", manifest)
    with appending(tmp_path / "p.csv", form, NAME), pytest.raises(OutputError, match="written by another run"):
        write(tmp_path / "p.csv", form, PATHS)
    assert write(tmp_path / "p.csv", form, PATHS) == 0


def test_an_output_that_cannot_be_written_is_an_error(tmp_path: Path, manifest: Manifest) -> None:
    with pytest.raises(OutputError, match="No such file or directory; choose another --output"):
        write(tmp_path / "missing" / "p.csv", form_of(".csv", manifest), PATHS)
    with pytest.raises(OutputError, match="not a regular file"):
        write(Path("/dev/full"), form_of(".csv", manifest), PATHS)


def test_on_a_full_disk_the_file_ends_with_a_complete_row(
    tmp_path: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, form = tmp_path / "p.csv", form_of(".csv", manifest)
    write(path, form, PATHS[:2])
    before = path.read_bytes()

    calls = []

    def write_half(descriptor: int, data: bytearray) -> int:
        calls.append(len(data))
        if len(calls) == 2:  # the next write succeeds
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return REAL_WRITE(descriptor, data[: len(data) // 2])

    monkeypatch.setattr(os, "write", write_half)
    with (
        pytest.raises(OutputError, match="No space left on device; finished rows are kept"),
        appending(path, form, NAME) as output,
    ):
        for name in PATHS[2:]:
            output.add(form.row(result(name)))
    monkeypatch.undo()
    assert output.written == output.errors == 0  # these rows are lost, and run again
    assert path.read_bytes() == before
    assert write(path, form, PATHS) == 2
