"""Contract between export, which writes artifacts, and the service, which reads them.

An artifact is a directory `<repository>/<model>/<variant>/<version>/` with `manifest.json`, the graph and the labels.
This package depends on the standard library and pydantic only.
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
from artifact.manifest import Draft, FileEntry, Manifest
from artifact.parts.engine import BuilderSettings, Engine, Flavour, Gpu, Profile
from artifact.parts.graph import Baked, Graph, Rewrite, Rewrites, Source
from artifact.parts.measured import Accuracy, Calibration, Cosine, Golden, Parity
from artifact.parts.shown import Constant, Constants
from artifact.parts.tensors import Batch, ImageInput, LogitsOutput, Preprocess
from artifact.parts.values import Activation, Precision, Task
from artifact.reader import Artifact, read_artifact, read_member
from artifact.recording import check_recordable, record_accuracy
from artifact.repository import Location, next_version, scan
from artifact.version_key import VersionKey
from artifact.writer import Staging, stage

__all__ = [
    "Accuracy",
    "Activation",
    "Artifact",
    "ArtifactError",
    "Baked",
    "Batch",
    "BuilderSettings",
    "Calibration",
    "Constant",
    "Constants",
    "Cosine",
    "Draft",
    "Engine",
    "FileEntry",
    "FileMismatchError",
    "Flavour",
    "Golden",
    "GoldenFileError",
    "GoldenInputs",
    "Gpu",
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
    "Profile",
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
    "VersionKey",
    "check_recordable",
    "limit_for",
    "next_version",
    "read_artifact",
    "read_golden",
    "read_member",
    "record_accuracy",
    "scan",
    "stage",
]
