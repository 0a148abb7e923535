"""Errors that end a run over files. Each message is one sentence with the remedy.

OfflineError
├── ArtifactChoiceError    no artifact or several artifacts match the given names
├── OutputError            the output cannot be written or resumed
├── ClusterError           the Ray cluster does not answer, or cannot run the artifact
└── LabelledImagesError    labelled images are missing, or their labels are not those of the network
"""

from service.problems.errors import ServiceError


class OfflineError(ServiceError):
    """The run cannot start or continue."""


class ArtifactChoiceError(OfflineError):
    """No artifact, or more than one, matches the given names."""


class OutputError(OfflineError):
    """The output cannot be written, is being written by another run, or contains other rows."""


class ClusterError(OfflineError):
    """The Ray cluster does not answer, has no room, or its nodes cannot run the artifact."""


class LabelledImagesError(OfflineError):
    """There are no labelled images, or a label is not one of the network's."""


def listed(names: list[str], most: int = 20) -> str:
    """Return names separated by commas: at most `most`, then the number of the others."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
