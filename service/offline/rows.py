"""Formats of predictions as rows of bytes: CSV and JSON Lines.

If the process is killed, the last row of the file may be incomplete; `whole` returns the end of the complete rows.
Paths keep bytes that are not UTF-8.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import chain
from typing import BinaryIO, Protocol

from artifact import Manifest
from service.offline.errors import OutputError
from service.offline.running import STAGES, Result
from service.ranking import predict
from service.schemas import Value

Identity = tuple[str, str]
"""Path and artifact of a row."""


class Format(Protocol):
    """Format of the rows.

    Args:
        manifest: manifest of the network that is run.
        labels: its labels.
        top_k: maximum number of classes in a row.
    """

    def __init__(self, manifest: Manifest, labels: tuple[str, ...], top_k: int) -> None: ...

    @property
    def header(self) -> bytes:
        """Lines before the rows."""

    @property
    def beginning(self) -> bytes:
        """First bytes of every file that has a row."""

    def row(self, result: Result) -> bytes:
        """Return a row, with its end of line."""

    def whole(self, file: BinaryIO) -> int:
        """Return the size of the complete rows of an open file in bytes."""

    def identities(self, file: BinaryIO) -> Iterator[Identity]:
        """Yield the identity of each complete row of an open file.

        Raises:
            OutputError: a row does not have this format and these columns.
        """


class Csv:
    """Columns: path, artifact, label_1, probability_1 … of the best classes, milliseconds, error. RFC 4180.

    A regression has value_1 … for every output, instead of probabilities.

    Attributes:
        columns: names of the columns.
        numbers: names of the numeric columns.
    """

    def __init__(self, manifest: Manifest, labels: tuple[str, ...], top_k: int) -> None:
        self._manifest, self._labels, self._top_k = manifest, labels, top_k
        regression = manifest.task == "regression"
        self._places = len(labels) if regression else min(top_k, len(labels))
        number = "value" if regression else "probability"
        places = [(f"label_{place + 1}", f"{number}_{place + 1}") for place in range(self._places)]
        times = [f"{stage}_ms" for stage in STAGES]
        self.columns = ["path", "artifact", *chain.from_iterable(places), *times, "error"]
        self.numbers = {number for _, number in places} | set(times)

    @property
    def header(self) -> bytes:
        """The columns' names."""
        return _csv_line(self.columns)

    @property
    def beginning(self) -> bytes:
        """The columns' names."""
        return self.header

    def row(self, result: Result) -> bytes:
        """Return a row; missing values of a file without prediction are empty."""
        cells: list[object] = []
        times: list[object] = [""] * len(STAGES)
        if result.output is not None:
            for found in predict(self._manifest, result.output, self._labels, self._top_k):
                cells += [found.label, found.value if isinstance(found, Value) else found.probability]
            times = [result.milliseconds[stage] for stage in STAGES]
        cells += [""] * (2 * self._places - len(cells))
        return _csv_line([result.file.path, artifact_name(self._manifest), *cells, *times, result.error])

    def whole(self, file: BinaryIO) -> int:
        """Return the end of the last row: a line feed after an even number of quotes."""
        end = size = quotes = 0
        for line in file:
            size += len(line)
            quotes += line.count(b'"')
            if line.endswith(b"\n") and quotes % 2 == 0:
                end = size
        return end

    def identities(self, file: BinaryIO) -> Iterator[Identity]:
        """Yield path and artifact of each row."""
        reader = csv.reader((line.decode("utf-8", "surrogateescape") for line in file), strict=True)
        try:
            next(reader, None)
            for row in reader:
                if len(row) != len(self.columns):
                    raise OutputError(f"line {reader.line_num} has {len(row)} cells, expected {len(self.columns)}")
                yield row[0], row[1]
        except csv.Error as error:
            raise OutputError(f"line {reader.line_num} is not CSV: {error}") from error


class JsonLines:
    """One object per line: path, artifact, and either predictions (as in /v1/classify) and latency_ms, or error."""

    def __init__(self, manifest: Manifest, labels: tuple[str, ...], top_k: int) -> None:
        self._manifest, self._labels, self._top_k = manifest, labels, top_k

    @property
    def header(self) -> bytes:
        """Empty."""
        return b""

    @property
    def beginning(self) -> bytes:
        """The first member's name."""
        return b'{"path": "'

    def row(self, result: Result) -> bytes:
        """Return a row."""
        row: dict[str, object] = {"path": result.file.path, "artifact": artifact_name(self._manifest)}
        if result.output is None:
            row["error"] = result.error
        else:
            found = predict(self._manifest, result.output, self._labels, self._top_k)
            row["predictions"] = [asdict(prediction) for prediction in found]
            row["latency_ms"] = {stage: result.milliseconds[stage] for stage in STAGES}
        return json.dumps(row).encode() + b"\n"

    def whole(self, file: BinaryIO) -> int:
        """Return the end of the last line."""
        return sum(len(line) for line in file if line.endswith(b"\n"))

    def identities(self, file: BinaryIO) -> Iterator[Identity]:
        """Yield path and artifact of each row."""
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line)
                yield str(row["path"]), str(row["artifact"])
            except (ValueError, KeyError, TypeError) as error:
                raise OutputError(f"line {number} is not a row of predictions") from error


def artifact_name(manifest: Manifest) -> str:
    """Return `<model>/<variant>/<version>`."""
    return f"{manifest.model}/{manifest.variant}/{manifest.version}"


def _csv_line(cells: Iterable[object]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)  # Python 3.11 quotes a CR only if it is in lineterminator
    return text.getvalue().removesuffix("\r\n").encode("utf-8", "surrogateescape") + b"\n"
