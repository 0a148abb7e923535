"""Error that ends a run over files; the message is one sentence with the remedy.

OfflineError
├── ArtifactChoiceError    no artifact of the names given, or several
├── OutputError            the output cannot be written or resumed
├── ClusterError           the Ray cluster does not answer, or cannot run the artifact
└── LabelledImagesError    labelled images are missing, or their labels are not those of the network
"""

from service.problems.errors import ServiceError


class OfflineError(ServiceError):
    """The run cannot begin or go on."""


class ArtifactChoiceError(OfflineError):
    """The repository has no artifact of the names given, or the names leave several."""


class OutputError(OfflineError):
    """The output cannot be written, is written by another run, or holds rows of something else."""


class ClusterError(OfflineError):
    """The Ray cluster does not answer, has no room, or its nodes cannot run the artifact."""


class LabelledImagesError(OfflineError):
    """There are no labelled images, or a label is not one of the network's."""


def listed(names: list[str], most: int = 20) -> str:
    """Return names separated by commas; of more than `most`, the first ones and how many are left."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
