"""Request and result of an export, and defaults of names and labels."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt
from pydantic.dataclasses import dataclass as checked_dataclass

from artifact import Batch, Manifest, Precision, Task
from artifact.parts.values import Target, Text
from artifact.text import flaw_of_label, shown
from export.process.errors import ExportError
from export.process.names import check_name
from models.sources import Loaded, Overrides, Weights

_KEEP_SIZES = Overrides()
_ANY_BATCH = Batch(min=1, max=32)

_Share = Annotated[float, Field(ge=0, le=1)]


@checked_dataclass(frozen=True)
class ExportRequest:
    """Request for an export: source, output and options.

    Raises pydantic's ValidationError if a value is not of the field's type or outside its range. Paths may be text.

    Attributes:
        source: `kind:name`, see `models.sources`.
        weights: source of the weights.
        output: repository to write to.
        overrides: sizes that replace those of the configuration.
        takes: dtype of the input: uint8 pixels, or normalised float32.
        batch: accepted batch sizes.
        opset: opset of the standard ONNX domain.
        model: name of the model; None means the source's.
        variant: name of the variant; None means the source's, or else the encoding's.
        version: version; None means the next one.
        labels: file with one label per line; None means the source's labels, or the class numbers.
        task: task of the network; None derives it from the source and the graph, see `export.verify.task`.
        precision: precision of the graph; int8 requires `calibration`.
        calibration: directory of images, for precisions other than fp32.
        min_cosine: limit on the mean cosine of logits; None means `LIMITS` of `export.verify.parity`.
        min_agreement: limit on the top-1 agreement with the network; None means `LIMITS`, too.
        target: target runtime, see `export.verify.targets`.
        report: True writes the report as an HTML page.
        samples: directory of sample images to store in the artifact.
        about: information for users: training data and unsuitable uses.
        preparation: preparation of photos that the service's page offers.
    """

    source: str
    weights: Weights
    output: Path
    overrides: Overrides = _KEEP_SIZES
    takes: Literal["uint8", "float32"] = "uint8"
    batch: Batch = _ANY_BATCH
    opset: Annotated[int, Field(ge=20, le=23)] = 20
    model: str | None = None
    variant: str | None = None
    version: PositiveInt | None = None
    labels: Path | None = None
    task: Task | None = None
    precision: Precision = "fp32"
    calibration: Path | None = None
    min_cosine: _Share | None = None
    min_agreement: _Share | None = None
    target: Target = "portable"
    report: bool = False
    samples: Path | None = None
    about: Text | None = None
    preparation: Literal["ink"] | None = None

    @property
    def takes_pixels(self) -> bool:
        """True if the graph's input is uint8 pixels, which it normalises."""
        return self.takes == "uint8"


@dataclass(frozen=True)
class Exported:
    """Finished export.

    Attributes:
        path: directory of the artifact.
        manifest: written manifest.
        seconds: duration of each step.
    """

    path: Path
    manifest: Manifest
    seconds: dict[str, float]


def choose_names(request: ExportRequest, loaded: Loaded) -> tuple[str, str]:
    """Return the names of model and variant: from the request, the source, or the encoding.

    For a precision other than fp32, the default name of the variant has the precision as a suffix.

    Raises:
        ExportError: a name is invalid.
    """
    variant = loaded.variant or _plain(loaded.encoding)
    if request.precision != "fp32":
        variant = f"{variant}-{request.precision}"
    model = loaded.model or _plain(loaded.name.partition(":")[2])
    return check_name("model", request.model or model), check_name("variant", request.variant or variant)


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower())


def read_labels(file: Path | None) -> list[str] | None:
    """Return the lines of the file of `--labels`; None without a file. Raises ExportError."""
    try:  # utf-8-sig, because some editors write a byte order mark
        return None if file is None else file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"cannot read --labels {file}: {error}") from error


def choose_labels(file: Path | None, labels: list[str] | None, loaded: Loaded) -> Sequence[str]:
    """Return one label per class: from the file, the source, or the class numbers.

    Raises:
        ExportError: the labels do not fit the network, or are not valid in an artifact.
    """
    if labels is None:
        found = loaded.labels or [str(index) for index in range(loaded.num_classes)]
        return _check_labels(found, f"the labels of {loaded.name}; give others with --labels FILE")
    if len(labels) != loaded.num_classes or not all(label.strip() for label in labels):
        raise ExportError(
            f"--labels {file} has {len(labels)} lines; expected {loaded.num_classes}, one non-empty label per line, "
            "without a header"
        )
    if len(labels) > 1 and (_are_numbered(labels, 0) or _are_numbered(labels, 1)):
        raise ExportError(
            f"--labels {file} numbers its labels, as in {labels[0]!r}; expected only the label on each line, in the "
            "order of the classes"
        )
    return _check_labels(labels, f"--labels {file}; correct the file")


def _check_labels(labels: Sequence[str], source: str) -> Sequence[str]:
    """Check labels, and return them. Raises ExportError if a label is not valid in an artifact."""
    for index, label in enumerate(labels):
        flaw = flaw_of_label(label)
        if flaw is not None:
            raise ExportError(f"label {index} ({shown(repr(label))}) {flaw}, in {source}")
    return labels


def _are_numbered(labels: Sequence[str], first: int) -> bool:
    """Return whether each label begins with the number of its class, as in CSV files."""
    return all(re.match(rf"\s*\"?{first + index}\"?\s*[,;:\t]", label) for index, label in enumerate(labels))
