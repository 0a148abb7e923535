"""The contract between export, which writes artifacts, and the service, which reads them.

An artifact is a directory `<repository>/<model>/<variant>/<version>/` with `manifest.json`, the graph and the labels.
This package needs the standard library and pydantic, nothing else.
"""

from artifact.errors import (
    ArtifactError,
    FileMismatchError,
    GoldenFileError,
    LabelsError,
    ManifestError,
    RecordingError,
    UnknownFormatError,
    UnsafePathError,
    VerificationTimeoutError,
    VersionExistsError,
)
from artifact.golden import GoldenInputs, limit_for, read_golden
from artifact.manifest import (
    Accuracy,
    Activation,
    Baked,
    Batch,
    Calibration,
    Cosine,
    Draft,
    FileEntry,
    Golden,
    Graph,
    ImageInput,
    LogitsOutput,
    Manifest,
    Parity,
    Precision,
    Preprocess,
    Rewrite,
    Rewrites,
    Source,
    Task,
)
from artifact.reader import Artifact, read_artifact
from artifact.recording import check_recordable, record_accuracy
from artifact.repository import Location, next_version, scan
from artifact.writer import Staging, stage

__all__ = [
    "Accuracy",
    "Activation",
    "Artifact",
    "ArtifactError",
    "Baked",
    "Batch",
    "Calibration",
    "Cosine",
    "Draft",
    "FileEntry",
    "FileMismatchError",
    "Golden",
    "GoldenFileError",
    "GoldenInputs",
    "Graph",
    "ImageInput",
    "LabelsError",
    "Location",
    "LogitsOutput",
    "Manifest",
    "ManifestError",
    "Parity",
    "Precision",
    "Preprocess",
    "RecordingError",
    "Rewrite",
    "Rewrites",
    "Source",
    "Staging",
    "Task",
    "UnknownFormatError",
    "UnsafePathError",
    "VerificationTimeoutError",
    "VersionExistsError",
    "check_recordable",
    "limit_for",
    "next_version",
    "read_artifact",
    "read_golden",
    "record_accuracy",
    "scan",
    "stage",
]
