"""Networks of a Triton repository: the variants of the artifacts, with their versions.

Triton has one configuration for all versions of a model, so these must have the same tensors, batch, labels and task.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from artifact import Artifact, Location, Manifest, read_artifact, scan
from artifact.text import shown
from export.process.errors import ExportError
from export.triton_repository.request import TritonRequest
from imaging.preprocess import preprocessing_of

LARGEST_VERSION = 2**63 - 1
"""Largest version: Triton reads the names of version directories as signed 64-bit integers."""

LONGEST_NAME = 255
"""Maximum length of a model's name in bytes: that of a file name on common file systems."""


@dataclass(frozen=True)
class Network:
    """A variant and its exported versions, oldest first."""

    versions: tuple[Artifact, ...]

    @property
    def newest(self) -> Artifact:
        """Newest version: the default of requests, and the version of the ensemble."""
        return self.versions[-1]

    @property
    def manifest(self) -> Manifest:
        """Manifest of the newest version."""
        return self.newest.manifest

    @property
    def max_batch(self) -> int:
        """Largest batch size that all versions support."""
        return min(version.manifest.input.batch.max for version in self.versions)

    @property
    def dynamic(self) -> bool:
        """True if the graphs have a dynamic batch; otherwise the batch size is 1."""
        return self.manifest.input.batch.max > 1

    @property
    def name(self) -> str:
        """Name of the network in Triton."""
        return f"{self.manifest.model}.{self.manifest.variant}"

    @property
    def image_name(self) -> str:
        """Name of the ensemble, whose input is encoded images."""
        return f"{self.name}.image"

    @property
    def pixels_name(self) -> str:
        """Name of the Python model that preprocesses images; networks with equal preprocessing share it."""
        without_batch = "" if self.dynamic else "-1"
        return f"{self.manifest.model}.pixels-{preprocessing_of(self.manifest)[:8]}{without_batch}"


def read_networks(request: TritonRequest) -> list[Network]:
    """Return the requested networks, sorted by name, after verification of all files.

    Raises:
        ArtifactError: an artifact is damaged.
        ExportError: the repository is missing or empty; a name is unknown; an artifact is not supported by Triton;
            versions of one variant need different configurations; two models would have the same name.
    """
    by_variant: dict[tuple[str, str], list[Location]] = defaultdict(list)
    for location in _locations(request):
        by_variant[location.model, location.variant].append(location)
    networks = []
    for locations in by_variant.values():
        versions = sorted(map(_read, locations), key=lambda artifact: artifact.manifest.version)
        network = Network(tuple(versions if request.versions == "all" else versions[-1:]))
        _check_alike(network)
        networks.append(network)
    check_names(networks)
    return networks


def check_names(networks: Iterable[Network]) -> None:
    """Raise ExportError if a name is too long, or two models would have the same name."""
    owners: dict[str, str] = {}
    for network in networks:
        key = f"{network.manifest.model}/{network.manifest.variant}"
        own = {network.name: f"the network of {key}", network.image_name: f"the ensemble of {key}"}
        shared = {network.pixels_name: f"the preprocessing of {network.manifest.model}"}
        for name, owner in {**own, **shared}.items():
            if len(name) > LONGEST_NAME:
                raise ExportError(
                    f"{key}: the name {name} has {len(name)} characters, at most {LONGEST_NAME} are allowed; "
                    "export the artifact with a shorter --model or --variant"
                )
            if owners.setdefault(name, owner) != owner:
                raise ExportError(
                    f"{owners[name]} and {owner} would both be named {name}; select one of them with --models and "
                    "--variants, or export one with another name"
                )


def _locations(request: TritonRequest) -> list[Location]:
    """Return the requested locations of a repository."""
    remedy = f"export to it with python export/to_onnx.py SOURCE --output {request.repository}"
    try:
        found = scan(request.repository)
    except OSError as error:
        raise ExportError(
            f"cannot read repository {request.repository}: {error.strerror or error}; give another, or {remedy}"
        ) from error
    if not found:
        raise ExportError(
            f"repository {request.repository} has no <model>/<variant>/<version>/ directories; give another, "
            f"or {remedy}"
        )
    _check_known("model", request.models, {location.model for location in found})
    of_models = [location for location in found if not request.models or location.model in request.models]
    _check_known("variant", request.variants, {location.variant for location in of_models})
    return [location for location in of_models if not request.variants or location.variant in request.variants]


def _check_known(what: str, asked: Iterable[str], known: set[str]) -> None:
    for name in asked:
        if name not in known:
            raise ExportError(f"{what} {name!r} is not in the repository; it has {', '.join(sorted(known))}")


def _read(location: Location) -> Artifact:
    """Return a verified artifact that Triton can run."""
    if location.unreadable:
        raise ExportError(f"{location}: its directory cannot be listed: {location.unreadable}; make it readable")
    artifact = read_artifact(location.path)
    manifest = artifact.manifest
    if str(manifest.key) != str(location):
        raise ExportError(f"{location}: its manifest is for {manifest.key}; move the directory to that path")
    if manifest.version > LARGEST_VERSION:
        raise ExportError(
            f"{location}: the largest version in Triton is {LARGEST_VERSION}; export it again with a lower --version"
        )
    if manifest.input.batch.min > 1:
        raise ExportError(
            f"{location}: its minimum batch size is {manifest.input.batch.min}, which Triton cannot enforce; "
            f"export it again with --batch 1:{manifest.input.batch.max}"
        )
    return artifact


def _check_alike(network: Network) -> None:
    newest = network.newest
    expected = _shared(newest)
    for version in network.versions:
        for what, value in _shared(version).items():
            if value != expected[what]:
                raise ExportError(
                    f"{version.manifest.key} and {newest.manifest.key} differ in {what} ({shown(str(value))}; "
                    f"{shown(str(expected[what]))}), but Triton has one configuration for all versions; export only "
                    "the newest with --versions newest"
                )


def _shared(artifact: Artifact) -> dict[str, object]:
    """Return the properties that all versions must share."""
    manifest = artifact.manifest
    image = manifest.input
    return {
        "the input": f"{image.dtype} {image.layout} {image.height}×{image.width}",
        "the batch": "dynamic" if image.batch.max > 1 else "one image",
        "the outputs": manifest.output.classes,
        "the activation": manifest.output.activation,
        "the task": manifest.task,
        "the labels": artifact.labels,
        "the precision": manifest.precision,
    }
