"""Errors of artifacts.

ArtifactError
├── ManifestError          manifest.json is missing, too large, is not JSON, or breaks the schema
│   └── UnknownFormatError     its format is not one this version reads
├── UnsafePathError        a listed file lies outside the artifact's directory, or is reached by a link
├── FileMismatchError      a listed file is missing, its size or SHA-256 differs, or a file is not listed
├── LabelsError            labels.txt does not hold one label for each class
├── GoldenFileError        the golden file does not hold what the manifest describes
├── VerificationTimeoutError   verifying the files took too long
├── RecordingError         an accuracy cannot be written into its manifest
└── VersionExistsError     the version to write is already there
"""


class ArtifactError(Exception):
    """An artifact cannot be read or written; the message names the artifact, the cause and the remedy."""


class ManifestError(ArtifactError):
    """manifest.json is missing, is not JSON, or breaks the schema."""


class UnknownFormatError(ManifestError):
    """The manifest's `format` is not one this version reads."""


class UnsafePathError(ArtifactError):
    """A file named by the manifest lies outside the artifact's directory, or is reached by a symbolic link."""


class FileMismatchError(ArtifactError):
    """A file named by the manifest is missing, or its size or SHA-256 differs; or the manifest does not name a file."""


class LabelsError(ArtifactError):
    """The labels file does not hold exactly one non-empty label of bounded length for each class."""


class GoldenFileError(ArtifactError):
    """The golden file is not what the manifest describes, or the manifest has no limit for a precision."""


class VerificationTimeoutError(ArtifactError):
    """Verifying the files took longer than the caller allows."""


class RecordingError(ArtifactError):
    """An accuracy cannot be recorded: a permission is missing, or the artifact is not the one that was measured."""


class VersionExistsError(ArtifactError):
    """An artifact of this model, variant and version is already in the repository."""
