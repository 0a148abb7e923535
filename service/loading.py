"""From a repository on disk to a catalogue of warm sessions."""

import logging

import numpy as np

from artifact import Artifact, ArtifactError, Location, read_artifact, scan
from service.backends import backend_type
from service.backends.base import Backend
from service.catalogue import Catalogue, Refused, Servable
from service.errors import GraphError, MisplacedArtifactError, RefusalError, RepositoryError, UnknownNameError
from service.settings import Settings

logger = logging.getLogger(__name__)


def load_catalogue(settings: Settings) -> Catalogue:
    """Verify, open and warm every artifact of the repository; refuse by name what is damaged.

    Raises:
        BackendUnavailableError: the backend or device cannot be had.
        RepositoryError: the repository is missing or empty, nothing in it can be served, or the default model is not
            in it.
    """
    backend = backend_type(settings.backend)
    device = backend.resolve_device(settings.device)
    servables: list[Servable] = []
    refused: list[Refused] = []
    for location in _locations(settings):
        try:
            servables.append(_open(location, backend, device, settings.threads))
        except (ArtifactError, RefusalError, OSError) as error:
            logger.error("refused artifact %s: %s", location, error)
            refused.append(Refused(str(location), str(error)))
        else:
            logger.info("serving artifact %s on %s", location, servables[-1].backend.name)
    if not servables:
        raise RepositoryError(
            f"none of the {len(refused)} artifacts in {settings.repository} can be served, "
            f"the first, {refused[0].name}, because: {refused[0].reason}"
        )
    try:
        return Catalogue(servables, refused, settings.default_model)
    except UnknownNameError as error:
        raise RepositoryError(f"default {error.detail}; choose another --default-model") from error


def _locations(settings: Settings) -> list[Location]:
    repository = settings.repository
    remedy = f"export into it with python export/to_onnx.py SOURCE --output {repository}, or name another --repository"
    try:
        locations = scan(repository)
    except OSError as error:
        raise RepositoryError(f"cannot read repository {repository}: {error.strerror or error}; {remedy}") from error
    if not locations:
        raise RepositoryError(
            f"repository {repository} is empty, expected <model>/<variant>/<version>/ directories; {remedy}"
        )
    return locations


def _open(location: Location, backend: type[Backend], device: str, threads: int) -> Servable:
    artifact = read_artifact(location.path)
    manifest = artifact.manifest
    named = f"{manifest.model}/{manifest.variant}/{manifest.version}"
    if named != str(location):
        raise MisplacedArtifactError(f"its directories say {location}, its manifest says {named}; move it there")
    if manifest.input.batch.min > 1:
        raise GraphError(
            f"it takes batches from {manifest.input.batch.min}, images are run one at a time; export it from batch 1"
        )
    servable = Servable(artifact, backend(artifact, device, threads))
    _warm(artifact, servable.backend)
    return servable


def _warm(artifact: Artifact, backend: Backend) -> None:
    """Run once at batch 1, for a first run allocates and is slow, and see that the answer has its shape."""
    tensor = artifact.manifest.input
    image = (tensor.height, tensor.width, 3) if tensor.layout == "NHWC" else (3, tensor.height, tensor.width)
    zeros = np.zeros((1, *image), np.uint8) if tensor.dtype == "uint8" else np.zeros((1, *image), np.float32)
    logits = backend.run(zeros)
    expected = (1, artifact.manifest.output.classes)
    if logits.shape != expected:
        raise GraphError(f"its logits have shape {logits.shape}, expected {expected}; export it again")
