"""Request and result of an engine build."""

from dataclasses import dataclass
from pathlib import Path

from artifact import Artifact, BuilderSettings, Flavour, Manifest, Precision, Profile
from engines import Layer
from export.process.errors import ExportError
from export.process.names import check_name

_DEFAULTS = BuilderSettings()
_OPT = 8
"""Default batch size for which kernels are optimised: the service's default MAX_BATCH."""


@dataclass(frozen=True)
class EngineRequest:
    """Request for an engine.

    Attributes:
        artifact: directory of the source artifact.
        output: repository to write to.
        flavour: library that builds the engine.
        precision: precision of the graph; None means fp16 for an fp32 artifact, otherwise the artifact's.
        profile: batch sizes; None means those of the artifact, optimised for 8.
        settings: settings of the builder.
        timing_cache: file of kernel timings; None for no cache.
        variant: name of the variant; None means the artifact's with the precision, if it changes, and the flavour.
        version: version; None means the next one.
        min_cosine: limit on the mean cosine of logits; None means `LIMITS` of `export.verify.parity`.
        report: True writes the layers of the engine to a file.
    """

    artifact: Path
    output: Path
    flavour: Flavour = "tensorrt"
    precision: Precision | None = None
    profile: Profile | None = None
    settings: BuilderSettings = _DEFAULTS
    timing_cache: Path | None = None
    variant: str | None = None
    version: int | None = None
    min_cosine: float | None = None
    report: bool = False


@dataclass(frozen=True)
class EngineExported:
    """Finished engine.

    Attributes:
        path: directory of the artifact.
        manifest: written manifest.
        layers: layers of the engine.
        warnings: warnings of the library.
        seconds: duration of each step.
    """

    path: Path
    manifest: Manifest
    layers: tuple[Layer, ...]
    warnings: tuple[str, ...]
    seconds: dict[str, float]


def choose_precision(request: EngineRequest, artifact: Artifact) -> Precision:
    """Return the precision of the engine's graph.

    Raises:
        ExportError: the artifact's graph cannot be converted to the precision.
    """
    own = artifact.manifest.precision
    wanted = request.precision or ("fp16" if own == "fp32" else own)
    if wanted == own or (own == "fp32" and wanted != "int8"):
        return wanted
    if wanted == "int8":
        raise ExportError(
            "int8 requires images for calibration: export the network with python export/to_onnx.py SOURCE "
            "--precision int8 --calibration DIR, and build the engine from that artifact"
        )
    raise ExportError(
        f"the precision of {artifact.path} is {own}, which cannot be converted to {wanted}; omit --precision, or build "
        "from an fp32 artifact"
    )


def choose_profile(request: EngineRequest, artifact: Artifact) -> Profile:
    """Return the batch sizes of the engine.

    Raises:
        ExportError: the artifact does not support all of them.
    """
    accepted = artifact.manifest.input.batch
    if request.profile is None:
        return Profile(min=accepted.min, opt=max(accepted.min, min(_OPT, accepted.max)), max=accepted.max)
    if request.profile.min < accepted.min or request.profile.max > accepted.max:
        raise ExportError(
            f"--batch {request.profile} is outside the batch sizes of {artifact.path}, {accepted.min} to "
            f"{accepted.max}; choose sizes in this range, or export the network with another --batch"
        )
    return request.profile


def choose_variant(request: EngineRequest, artifact: Artifact, precision: Precision) -> str:
    """Return the name of the variant; the default differs from the artifact's, so one repository may contain both.

    Raises:
        ExportError: the name is invalid.
    """
    changed = "" if precision == artifact.manifest.precision else f"-{precision}"
    return check_name("variant", request.variant or f"{artifact.manifest.variant}{changed}-{request.flavour}")
