"""Formats of predictions by the suffix of the output; a new one is a line in FORMATS, and in `arguments.OUTPUTS`."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from service.offline.output import Output, appending
from service.offline.parquet import ParquetRows, collecting
from service.offline.rows import Csv, Format, JsonLines


class OutputFormat(NamedTuple):
    """Rows of a format, and the function that opens an output of them, as `output.appending`."""

    rows: type[Format]
    open: Callable[[Path, Format, str], AbstractContextManager[Output]]


FORMATS = {
    ".csv": OutputFormat(Csv, appending),
    ".jsonl": OutputFormat(JsonLines, appending),
    ".parquet": OutputFormat(ParquetRows, collecting),
}


def format_of(output: Path) -> OutputFormat:
    """Return the format of an output, whose suffix is one of FORMATS."""
    return FORMATS[output.suffix.lower()]
