"""Loading of artifacts: verification, opening, warm-up and golden check."""

import logging
import time

from artifact import (
    Artifact,
    ArtifactError,
    GoldenFileError,
    Location,
    Manifest,
    VerificationTimeoutError,
    read_artifact,
    scan,
)
from artifact.text import shown
from service.backends import Way, choose_ways
from service.backends.base import Backend
from service.backends.child import CHILDREN
from service.backends.restartable import Restartable
from service.backends.warming import warm
from service.catalogue.catalogue import Catalogue, Refused, Servable, largest_batch
from service.catalogue.fingerprint import Fingerprint, fingerprint
from service.inputs.images import check_sizes
from service.problems.client_errors import UnknownNameError
from service.problems.errors import (
    BackendUnavailableError,
    ChangedFilesError,
    GoldenError,
    GraphError,
    LoadTimeoutError,
    MisplacedArtifactError,
    RefusalError,
    RepositoryError,
    ShortageError,
    TaskError,
)
from service.resources.memory import half_of_memory
from service.resources.shortages import shortage
from service.resources.time_limit import TimeLimit, TimeLimitError, within
from service.settings import Settings

logger = logging.getLogger(__name__)

REASON_LIMIT = 1000
"""Maximum number of characters of a refusal's reason; a response contains all reasons."""

RETRY_SECONDS = 60
"""Pause before an artifact that was refused for a passing cause is loaded again."""

PASSING = (ShortageError, BackendUnavailableError)
"""Errors that may pass without a change of the artifact's files."""

_OTHER_WAY = (GraphError, GoldenError, GoldenFileError, BackendUnavailableError)
"""Errors of one way to run an artifact, after which the next way is tried."""


class Loader:
    """Loader of artifacts with the backend and device of the settings.

    Raises:
        BackendUnavailableError: the backend or device is not available.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ways = choose_ways(settings.backend, settings.device, settings.cpu_precision, settings.engine_cache)
        self._memory = 2 * half_of_memory()

    def open(self, location: Location, served: Servable | None = None) -> Servable:
        """Verify, open, warm and check an artifact at batch 1 and at the largest batch, within LOAD_TIMEOUT.

        Any failure that an artifact causes is a refusal of this artifact, including running out of memory.

        Args:
            location: location of the artifact.
            served: the served version, returned with the current accuracy of the manifest if its files are unchanged.

        Raises:
            RefusalError: the artifact cannot be served; the message is short, escaped, and contains no path of this
                machine. LoadTimeoutError if it took too long, ShortageError if a resource of the machine is short.
            BackendUnavailableError: the device failed.
        """
        try:
            return within(
                self._settings.load_timeout,
                lambda limit: self._open(location, served, limit),
                lambda late: late.backend.close() if late is not served else None,
            )
        except (TimeLimitError, VerificationTimeoutError) as error:
            raise LoadTimeoutError(
                f"it was not verified, opened and warm within {self._settings.load_timeout:g} s; look for a graph that "
                "does not terminate, or raise --load-timeout"
            ) from error
        except Exception as error:
            if (short := shortage(error)) is not None:
                raise ShortageError(f"it cannot be loaded at the moment: {short}") from error
            if isinstance(error, BackendUnavailableError):
                raise BackendUnavailableError(_fit(error, location)) from error
            if isinstance(error, ArtifactError | RefusalError | OSError):
                raise RefusalError(_fit(error, location)) from error
            logger.exception("artifact %s cannot be loaded", location)
            raise RefusalError(
                f"loading it failed unexpectedly ({type(error).__name__}); see the server's log"
            ) from error

    def _open(self, location: Location, served: Servable | None, limit: TimeLimit) -> Servable:
        if location.unreadable:
            raise RefusalError(
                f"its directory cannot be listed: {location.unreadable}; give this server read permission"
            )
        start = time.perf_counter()
        seen = fingerprint(location.path)
        artifact = read_artifact(location.path, limit.until)
        manifest = artifact.manifest
        if served is not None and manifest.same_but_accuracy(served.manifest):
            if manifest.accuracy != served.manifest.accuracy:
                served.take_accuracy(artifact)
                logger.info("accuracy of artifact %s: %s", location, _accuracy(manifest))
            return served
        named = str(manifest.key)
        if named != str(location):
            raise MisplacedArtifactError(f"its directory is {location}, but its manifest says {named}; move it there")
        if manifest.input.batch.min > 1:
            raise GraphError(
                f"its smallest batch is {manifest.input.batch.min}, but single images must run; export it from batch 1"
            )
        check_sizes(manifest, self._settings.max_pixels)
        ways = self._ways.of(manifest)
        for way, other in zip(ways, [*ways[1:], None], strict=True):
            try:
                # A graph that one runtime refused may crash the next.
                if way.may_crash or way is not ways[0]:
                    left = limit.until - time.monotonic()
                    self._check_in_child(way, artifact, left if other is None else left / 2, limit)
                return self._open_on(way, artifact, seen, limit, start)
            except _OTHER_WAY as error:
                if other is None or time.monotonic() >= limit.until:
                    raise
                logger.warning("artifact %s: %s; trying %s", location, _fit(error, location), other)
        raise AssertionError("there is no way to run an artifact")

    def _check_in_child(self, way: Way, artifact: Artifact, seconds: float, limit: TimeLimit) -> None:
        largest = largest_batch(artifact.manifest, self._settings.max_batch)
        way.check_in_child(artifact, largest, self._memory, seconds, limit.on_exceeded)

    def _open_on(self, way: Way, artifact: Artifact, seen: Fingerprint, limit: TimeLimit, start: float) -> Servable:
        """Open, warm and check an artifact."""
        largest = largest_batch(artifact.manifest, self._settings.max_batch)
        backend = Restartable(lambda: self._run(way, artifact, seen))
        limit.on_exceeded(backend.current().interrupt)
        try:
            first = warm(artifact, backend.current(), largest)
            if fingerprint(artifact.path) != seen:  # the opened files may differ from the verified ones
                raise ChangedFilesError(
                    "its files changed while they were read; it is tried again when they stop changing"
                )
        except BaseException:
            backend.close()
            raise
        return Servable(artifact, backend, first.seconds, time.perf_counter() - start, first.golden)

    def _run(self, way: Way, artifact: Artifact, seen: Fingerprint) -> Backend:
        """Open the backend, at load or for a restart, and check that the files have not changed since."""
        if fingerprint(artifact.path) != seen:
            found = read_artifact(artifact.path).manifest
            if not found.same_but_accuracy(artifact.manifest):
                raise ChangedFilesError(
                    "its files have changed since it was loaded; restore them, or load the new ones"
                )
        return way.open(artifact, self._settings.threads)


def load_catalogue(settings: Settings) -> Catalogue:
    """Verify, open and warm every artifact of the repository; damaged ones are refused.

    Raises:
        BackendUnavailableError: no backend or device is available, or all artifacts fail on it.
        RepositoryError: the repository is missing or empty, no artifact can be served, or the default model is not in
            it.
    """
    servables: list[Servable] = []
    refused: list[Refused] = []
    failures: list[BackendUnavailableError] = []
    seen: dict[str, Fingerprint] = {}
    with CHILDREN.kept():
        loader = Loader(settings)
        for location in _locations(settings):
            seen[str(location)] = fingerprint(location.path)
            try:
                servables.append(_of_one_task(loader.open(location), servables))
            except (RefusalError, BackendUnavailableError) as error:
                if isinstance(error, BackendUnavailableError):  # an error of the device, unless another artifact works
                    failures.append(error)
                refused.append(refusal(location, error, settings))
                logger.error("refused artifact %s: %s", location, refused[-1].reason)
            else:
                _log_served(location, servables[-1])
    if not servables and failures:
        raise failures[0]
    if not servables:
        raise RepositoryError(
            f"none of the {len(refused)} artifacts in {settings.repository} can be served, "
            f"the first, {refused[0].name}, because: {refused[0].reason}"
        )
    catalogue = Catalogue(servables, refused, settings.default_model, seen)
    try:
        catalogue.variants(catalogue.default_model or catalogue.models()[0])
    except UnknownNameError as error:
        raise RepositoryError(f"default {error.detail}; choose another --default-model") from error
    return catalogue


def refusal(location: Location, error: Exception, settings: Settings) -> Refused:
    """Return the refusal of an artifact for an error; its reason says whether the artifact is tried again."""
    passing = isinstance(error, PASSING)
    again = f"; it is tried again every {RETRY_SECONDS} s" if passing and settings.reload_seconds else ""
    return Refused(str(location), f"{error}{again}", passing)


def _log_served(location: Location, opened: Servable) -> None:
    found = opened.golden
    golden = (
        "unchecked" if found is None else f"off by {found.error:.1e}, limit {found.limit:.1e} for {found.precision}"
    )
    ran, target = f"{opened.backend.name} in {opened.backend.precision}", opened.manifest.target
    logger.info("serving artifact %s on %s, target %s, golden %s", location, ran, target, golden)


def _of_one_task(servable: Servable, others: list[Servable]) -> Servable:
    """Return the servable, or close it and raise TaskError: see Catalogue.check_task."""
    try:
        Catalogue(others).check_task(servable)
    except TaskError:
        servable.backend.close()
        raise
    return servable


def _accuracy(manifest: Manifest) -> str:
    accuracy = manifest.accuracy
    return f"top-1 {accuracy.top1:.4f} on {shown(accuracy.dataset)}" if accuracy else "removed"


def _fit(error: Exception, location: Location) -> str:
    """Return an error's message in a form that is safe for logs and responses."""
    return shown(without_paths(str(error), location), REASON_LIMIT)


def without_paths(text: str, location: Location) -> str:
    """Replace an artifact's path in `text` by its name, because clients must not see the server's directories."""
    for path in (
        location.path.resolve(),
        location.path.absolute(),
        location.path,
    ):  # longest first
        text = text.replace(str(path), str(location))
    return text


def _locations(settings: Settings) -> list[Location]:
    repository = settings.repository
    remedy = f"export into it with python export/to_onnx.py SOURCE --output {repository}, or name another --repository"
    try:
        locations = scan(repository)
    except OSError as error:
        why = shortage(error) or f"{error.strerror or error}; {remedy}"
        raise RepositoryError(f"cannot read repository {repository}: {why}") from error
    if not locations:
        raise RepositoryError(
            f"repository {repository} is empty, expected <model>/<variant>/<version>/ directories; {remedy}"
        )
    return locations
