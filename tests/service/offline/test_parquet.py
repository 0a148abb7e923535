"""Parquet output: the columns of CSV with types, in a file that is complete after every run."""

import csv
import sys
from pathlib import Path

import pyarrow.parquet
import pytest

from artifact import Manifest
from service.offline.errors import OutputError
from service.offline.formats import FORMATS
from service.offline.output import appending
from service.offline.parquet import collecting
from service.offline.rows import Csv, Format
from tests.service.artifacts import LABELS, add_artifact
from tests.service.offline.test_output import NAME, PATHS, result

TEXTS = [path for path in PATHS if "\udcff" not in path]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return add_artifact(tmp_path_factory.mktemp("parquet"))


@pytest.fixture
def form(manifest: Manifest) -> Format:
    return FORMATS[".parquet"].rows(manifest, LABELS, 2)


def write(path: Path, form: Format, paths: list[str]) -> None:
    with collecting(path, form, NAME) as output:
        for name in paths:
            if name not in output.done:
                output.add(form.row(result(name)))


def test_the_columns_are_those_of_csv_with_types(tmp_path: Path, manifest: Manifest, form: Format) -> None:
    write(tmp_path / "p.parquet", form, TEXTS)
    plain = Csv(manifest, LABELS, 2)
    with appending(tmp_path / "p.csv", plain, NAME) as output:
        for name in TEXTS:
            output.add(plain.row(result(name)))
    with (tmp_path / "p.csv").open(newline="") as file:
        expected = list(csv.DictReader(file))
    found = pyarrow.parquet.read_table(tmp_path / "p.parquet")
    assert [{name: "" if cell is None else str(cell) for name, cell in row.items()} for row in found.to_pylist()] == (
        expected
    )
    numbers = {"probability_1", "probability_2", "read_ms", "decode_ms", "preprocess_ms", "inference_ms"}
    assert {field.name for field in found.schema if field.type == pyarrow.float64()} == numbers
    assert {path.name for path in tmp_path.iterdir()} == {"p.parquet", "p.csv"}


def test_a_file_without_rows_has_columns(tmp_path: Path, form: Format) -> None:
    write(tmp_path / "p.parquet", form, [])
    found = pyarrow.parquet.read_table(tmp_path / "p.parquet")
    assert (found.num_rows, found.column_names[:2]) == (0, ["path", "artifact"])


def test_a_failed_run_leaves_a_complete_file_and_a_killed_one_its_rows(tmp_path: Path, form: Format) -> None:
    path = tmp_path / "p.parquet"

    def end(error: BaseException, name: str) -> None:
        with collecting(path, form, NAME) as output:
            output.add(form.row(result(name)))
            raise error

    with pytest.raises(OutputError, match="the backend"):
        end(OutputError("the backend"), "a")
    assert pyarrow.parquet.read_table(path)["path"].to_pylist() == ["a"]
    with pytest.raises(KeyboardInterrupt):  # as raised at a second signal
        end(KeyboardInterrupt(), "b")
    assert pyarrow.parquet.read_table(path)["path"].to_pylist() == ["a"]
    rows = tmp_path / "p.parquet.csv"
    left = rows.read_bytes()
    assert b"\nb,colours" in left
    write(path, form, ["a", "b", "c"])
    assert pyarrow.parquet.read_table(path)["path"].to_pylist() == ["a", "b", "c"]
    rows.write_bytes(left)  # as if killed after the Parquet file was written
    write(path, form, ["a", "b", "c", "d"])
    assert pyarrow.parquet.read_table(path)["path"].to_pylist() == ["a", "b", "c", "d"]
    assert [each.name for each in tmp_path.iterdir()] == ["p.parquet"]


def test_a_link_remains_a_link_to_the_file(tmp_path: Path, form: Format) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "p.parquet").symlink_to("data/p.parquet")
    for count in (1, 2):
        write(tmp_path / "p.parquet", form, TEXTS[:count])
        assert (tmp_path / "p.parquet").is_symlink()
        assert pyarrow.parquet.read_table(tmp_path / "data" / "p.parquet").num_rows == count
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["p.parquet"]


def test_a_run_without_new_rows_does_not_change_the_file(tmp_path: Path, form: Format) -> None:
    write(path := tmp_path / "p.parquet", form, ["a"])
    before = path.stat()
    write(path, form, ["a"])
    assert path.stat() == before


def test_an_unrelated_file_is_refused_and_unchanged(tmp_path: Path, manifest: Manifest, form: Format) -> None:
    path = tmp_path / "p.parquet"
    other = manifest.model_copy(update={"version": 2})
    contents = {"damaged": b"PAR1"}
    for what, rows in (("version", FORMATS[".parquet"].rows(other, LABELS, 2)), ("columns", None)):
        form_of_file = rows or FORMATS[".parquet"].rows(manifest, LABELS, 3)
        with collecting(path, form_of_file, "any") as output:
            output.add(form_of_file.row(result("a")))
        contents[what] = path.read_bytes()
        path.unlink()
    for what, reason in [
        ("damaged", "Parquet"),
        ("version", "predictions of colours/mean/2, not of colours/mean/1"),
        ("columns", "its columns are not path, artifact, label_1"),
    ]:
        path.write_bytes(contents[what])
        with pytest.raises(OutputError, match=rf"p\.parquet cannot be resumed: .*{reason}"):
            write(path, form, ["a"])
        assert [each.read_bytes() for each in tmp_path.iterdir()] == [contents[what]]


def test_a_second_run_into_the_same_file_is_refused(tmp_path: Path, form: Format) -> None:
    with (
        collecting(tmp_path / "p.parquet", form, NAME),
        pytest.raises(OutputError, match="written by another run"),
    ):
        write(tmp_path / "p.parquet", form, ["a"])


def test_if_the_file_cannot_be_written_the_rows_are_kept(tmp_path: Path, form: Format) -> None:
    (tmp_path / "p.parquet.unfinished").symlink_to("/dev/full")
    with pytest.raises(
        OutputError, match=r"No space left on device; finished rows are kept in .*p\.parquet\.csv, so free disk space"
    ):
        write(tmp_path / "p.parquet", form, ["a"])
    assert [each.name for each in tmp_path.iterdir()] == ["p.parquet.csv"]
    write(tmp_path / "p.parquet", form, ["a"])
    assert [each.name for each in tmp_path.iterdir()] == ["p.parquet"]


def test_a_name_that_is_not_utf8_is_refused_by_name(form: Format) -> None:
    with pytest.raises(OutputError, match=r"xff.*is not UTF-8, which Parquet cannot hold"):
        form.row(result("\udcff.png"))


def test_without_pyarrow_the_message_names_the_extra(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(OutputError, match=r"pip install 'posbake\[parquet\]'"):
        FORMATS[".parquet"].rows(manifest, LABELS, 2)
