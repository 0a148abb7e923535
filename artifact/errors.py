"""Errors of artifacts.

ArtifactError
├── ManifestError          manifest.json is missing, too large, is not JSON, or breaks the schema
│   └── UnknownFormatError     this version does not support its format
├── UnsafePathError        a listed file is outside the artifact's directory, or behind a symbolic link
├── FileMismatchError      a listed file is missing, its size or SHA-256 differs, or a file is not listed
├── LabelsError            labels.txt does not have one label for each class
├── GoldenFileError        the golden file does not match the manifest
├── VerificationTimeoutError   verifying the files took too long
├── RecordingError         an accuracy cannot be written into its manifest
└── VersionExistsError     the version to write already exists
"""


class ArtifactError(Exception):
    """An artifact cannot be read or written; the message names the artifact, the cause and the remedy."""


class ManifestError(ArtifactError):
    """manifest.json is missing, is not JSON, or breaks the schema."""


class UnknownFormatError(ManifestError):
    """This version does not support the manifest's `format`."""


class UnsafePathError(ArtifactError):
    """A file named by the manifest is outside the artifact's directory, or behind a symbolic link."""


class FileMismatchError(ArtifactError):
    """A file named by the manifest is missing, or its size or SHA-256 differs; or a file is not in the manifest."""


class LabelsError(ArtifactError):
    """The labels file does not have exactly one non-empty label of bounded length for each class."""


class GoldenFileError(ArtifactError):
    """The golden file does not match the manifest, or the manifest has no limit for a precision."""


class VerificationTimeoutError(ArtifactError):
    """Verification of the files exceeded the caller's time limit."""


class RecordingError(ArtifactError):
    """An accuracy cannot be recorded: a permission is missing, or the artifact was replaced after the measurement."""


class VersionExistsError(ArtifactError):
    """The repository already has an artifact of this model, variant and version."""
