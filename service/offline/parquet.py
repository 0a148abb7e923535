"""Parquet output: the columns of CSV, with types; missing values are null.

The index of a Parquet file is at its end, so rows cannot be appended. They are collected as CSV in a file beside it,
`<output>.csv`, and written to the Parquet file when the run ends. If the process is killed, that file remains, and the
next run resumes from it.
"""

import csv
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artifact import Manifest
from service.offline.done import DonePaths
from service.offline.errors import OutputError
from service.offline.output import Output, appending
from service.offline.rows import Csv, Format
from service.offline.running import Result

if TYPE_CHECKING:
    import pyarrow

_ROWS = 65_536
"""Number of rows of a row group, which are in memory together."""


class ParquetRows(Csv):
    """CSV rows that are later written to Parquet; text must be UTF-8.

    Raises:
        OutputError: pyarrow is not installed.
    """

    def __init__(self, manifest: Manifest, labels: tuple[str, ...], top_k: int) -> None:
        super().__init__(manifest, labels, top_k)
        _library()

    @property
    def schema(self) -> "pyarrow.Schema":
        """Names and types of the Parquet columns."""
        arrow, _ = _library()
        return arrow.schema(
            (name, arrow.float64() if name in self.numbers else arrow.string()) for name in self.columns
        )

    def row(self, result: Result) -> bytes:
        """Return a row.

        Raises:
            OutputError: the path has bytes that are not UTF-8.
        """
        try:
            result.file.path.encode()
        except UnicodeEncodeError as error:
            raise OutputError(
                f"the name {os.fsencode(result.file.path)!r} is not UTF-8, which Parquet cannot hold; rename the file, "
                "or write .csv or .jsonl"
            ) from error
        return super().row(result)


@contextmanager
def collecting(path: Path, form: Format, artifact: str) -> Iterator[Output]:
    """Open a new or existing Parquet file of predictions; see `output.appending`.

    Added rows are in the file when the block ends; if KeyboardInterrupt ends it, they are in the CSV file beside it.

    Raises:
        OutputError: as `appending`; or the Parquet file is damaged or cannot be written.
    """
    assert isinstance(form, ParquetRows)
    path = path.resolve()  # a link is not replaced by the file
    rows = path.with_name(f"{path.name}.csv")
    found = _state(path)
    before = DonePaths(_paths(path, form, artifact))
    with appending(rows, form, artifact) as output:
        if _state(path) != found:
            raise OutputError(f"{path} is being written by another run; choose another --output")
        output.done |= before
        try:
            yield output
        except Exception:
            _finish(output, path, rows, form, before)
            raise
        _finish(output, path, rows, form, before)


def _finish(output: Output, path: Path, rows: Path, form: ParquetRows, before: DonePaths) -> None:
    """Rewrite the Parquet file with its own rows and the collected ones, and remove the CSV file."""
    output.flush()
    if not path.exists() or rows.stat().st_size > len(form.header):
        arrow, parquet = _library()
        unfinished = path.with_name(f"{path.name}.unfinished")
        try:
            with unfinished.open("wb") as file, parquet.ParquetWriter(file, form.schema) as writer:
                for batch in _stored(path, form.schema) if path.exists() else ():
                    writer.write_batch(batch)
                for columns in _columns(rows, form.schema, before):
                    writer.write_batch(arrow.record_batch(columns, schema=form.schema))
            unfinished.replace(path)
        except OSError as error:
            raise OutputError(
                f"cannot write {path}: {error.strerror or error}; finished rows are kept in {rows}, so free disk "
                "space and run the same command again"
            ) from error
        finally:
            unfinished.unlink(missing_ok=True)
    rows.unlink()


def _columns(rows: Path, schema: "pyarrow.Schema", before: DonePaths) -> Iterator[list["pyarrow.Array"]]:
    """Yield columns of row groups; skip rows that are already in the Parquet file, which a killed run may leave."""
    arrow, _ = _library()
    with rows.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file, strict=True)
        next(reader)
        new = (row for row in reader if row[0] not in before)
        while chunk := list(islice(new, _ROWS)):
            numbers = [field.type == arrow.float64() for field in schema]
            cells = zip(numbers, zip(*chunk, strict=True), strict=True)
            yield [arrow.array([_cell(text, number) for text in column]) for number, column in cells]


def _cell(text: str, number: bool) -> str | float | None:
    if not text:
        return None
    return float(text) if number else text


def _paths(path: Path, form: ParquetRows, artifact: str) -> Iterator[str]:
    """Yield the paths in a Parquet file, none if it does not exist."""
    if not path.exists():
        return
    try:
        for batch in _stored(path, form.schema, ["path", "artifact"]):
            for name, of in zip(*(column.to_pylist() for column in batch), strict=True):
                if of != artifact:
                    raise OutputError(f"it contains predictions of {of}, not of {artifact}")
                yield name
    except (OutputError, OSError, ValueError) as error:  # ValueError: pyarrow, for a damaged file
        raise OutputError(f"{path} cannot be resumed: {error}; choose another --output") from error


def _stored(path: Path, schema: "pyarrow.Schema", columns: list[str] | None = None) -> Iterator["pyarrow.RecordBatch"]:
    """Yield the rows of a Parquet file in batches.

    Raises:
        OutputError: the file has other columns.
    """
    _, parquet = _library()
    with parquet.ParquetFile(path) as file:
        if file.schema_arrow != schema:
            raise OutputError(f"its columns are not {', '.join(schema.names)}")
        yield from file.iter_batches(_ROWS, columns=columns)


def _state(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _library() -> tuple[Any, Any]:
    """Return pyarrow and pyarrow.parquet.

    Raises:
        OutputError: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise OutputError(
            "Parquet is written by pyarrow, which is not installed: pip install 'posbake[parquet]', or write .csv or "
            ".jsonl"
        ) from error
    return pyarrow, pyarrow.parquet
