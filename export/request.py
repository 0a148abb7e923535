"""Request and result of an export, and defaults of names and labels."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from artifact import Batch, Manifest, Precision, Task
from artifact.parts.values import Target
from artifact.text import flaw_of_label, shown
from export.process.errors import ExportError
from export.process.names import check_name
from models.sources import Loaded, Overrides, Weights

_KEEP_SIZES = Overrides()
_ANY_BATCH = Batch(min=1, max=32)


@dataclass(frozen=True)
class ExportRequest:
    """Request for an export: source, output and options.

    Attributes:
        source: `kind:name`, see `models.sources`.
        weights: source of the weights.
        output: repository to write to.
        overrides: sizes other than the configuration's.
        takes: input dtype: uint8 pixels, or float32 already normalised.
        batch: accepted batch sizes.
        opset: opset of the standard ONNX domain.
        model: name of the task; None takes the source's.
        variant: name of the variant; None takes the source's, or else the encoding's.
        version: None takes the next one.
        labels: file with one label per line; None takes the source's labels, or the class numbers.
        task: kind of outputs; None derives it from the source and the graph, see `export.verify.task`.
        precision: precision of the graph; int8 needs `calibration`.
        calibration: directory of images, for precisions other than fp32.
        min_cosine: limit on the mean cosine of logits; None takes `LIMITS` of `export.verify.parity`.
        min_agreement: limit on the share of images with the network's top-1; None as above.
        target: runtime that the graph is optimised for, see `export.verify.targets`.
        report: whether to write the report as a page beside the graph.
        samples: directory of sample images to store in the artifact.
        about: information for users: training data and unsuitable uses.
        preparation: preparation that the service's page may offer for photos.
    """

    source: str
    weights: Weights
    output: Path
    overrides: Overrides = _KEEP_SIZES
    takes: Literal["uint8", "float32"] = "uint8"
    batch: Batch = _ANY_BATCH
    opset: int = 20
    model: str | None = None
    variant: str | None = None
    version: int | None = None
    labels: Path | None = None
    task: Task | None = None
    precision: Precision = "fp32"
    calibration: Path | None = None
    min_cosine: float | None = None
    min_agreement: float | None = None
    target: Target = "portable"
    report: bool = False
    samples: Path | None = None
    about: str | None = None
    preparation: Literal["ink"] | None = None

    @property
    def takes_pixels(self) -> bool:
        """True if the graph takes uint8 pixels, and normalises them."""
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

    For a precision other than fp32, a variant without a requested name has the precision as a suffix.

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
    """Return the lines of `--labels`, None without a file. Raises ExportError."""
    try:  # utf-8-sig: some editors write a byte order mark
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
        return _fit_to_be_written(found, f"the labels of {loaded.name}; name others with --labels FILE")
    if len(labels) != loaded.num_classes or not all(label.strip() for label in labels):
        raise ExportError(
            f"--labels {file} holds {len(labels)} lines; expected {loaded.num_classes}, one label per line and none "
            "empty, without a heading or anything else"
        )
    if len(labels) > 1 and (_are_numbered(labels, 0) or _are_numbered(labels, 1)):
        raise ExportError(
            f"--labels {file} numbers its labels, as in {labels[0]!r}; expected the label alone on each line, in the "
            "order of the classes"
        )
    return _fit_to_be_written(labels, f"--labels {file}; correct the file")


def _fit_to_be_written(labels: Sequence[str], source: str) -> Sequence[str]:
    """Return the labels after checking them. Raises ExportError if one is not valid in an artifact."""
    for index, label in enumerate(labels):
        flaw = flaw_of_label(label)
        if flaw is not None:
            raise ExportError(f"label {index} ({shown(repr(label))}) {flaw}, in {source}")
    return labels


def _are_numbered(labels: Sequence[str], first: int) -> bool:
    """Return whether each label starts with the number of its class, as in CSV files."""
    return all(re.match(rf"\s*\"?{first + index}\"?\s*[,;:\t]", label) for index, label in enumerate(labels))
