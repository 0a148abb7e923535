"""The whole way from a source to an artifact: load, trace, check, write."""

import gc
import hashlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Literal

import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from artifact import Batch, Draft, ImageInput, LogitsOutput, Manifest, Source, Task, next_version, stage
from artifact.hashing import describe_file
from artifact.manifest import Name
from artifact.text import flaw_of_label, shown
from export.baked import report_constants
from export.errors import ExportError
from export.graph import build_graph, describe_graph
from export.memory import give_back
from export.parity import TOLERANCE, UNKNOWN_TOLERANCE, check_parity, compute_reference
from export.pixels import ArtifactInput, Normalisation
from export.precision import Precision, prepare_lowering
from export.reporting.page import REPORT_NAME, Facts, render_page
from export.reporting.pictures import Gallery, draw_constants
from export.saving import check_graph, save_graph
from export.task import decide_task, final_activation
from models.sources import Checkpoint, Loaded, Overrides, Pretrained, RandomWeights, Weights, load_source
from models.sources.checkpoints import files_of
from models.sources.library_module import ENCODING

NAME: TypeAdapter[str] = TypeAdapter(Name)
LIBRARIES = {"timm", "torchvision", "transformers"}
KEEP_SIZES = Overrides()
ANY_BATCH = Batch(min=1, max=32)
TOOLS = ("posbake", "torch", "onnx", "onnxscript", "onnx-ir", "onnxruntime")

Step = Callable[[str], AbstractContextManager[object]]
"""Told the name of each step; what it returns is entered for as long as the step lasts."""


@dataclass(frozen=True)
class Request:
    """What to export, and how.

    Attributes:
        source: `kind:name`, see `models.sources`.
        weights: where the weights come from.
        output: the repository to write to.
        overrides: sizes other than the configuration's.
        takes: uint8 pixels, or float32 already normalised.
        batch: the sizes the artifact shall accept.
        opset: of the standard ONNX domain.
        model: name of the task; None takes the source's.
        variant: name of the variant; None takes the source's, or else the encoding's.
        version: None takes the next one.
        labels: a file with one label a line; None takes the source's, or else the numbers.
        task: what the outputs are; None decides by the source and the graph, see `export.task`.
        precision: of the graph's numbers; int8 needs `calibration`.
        calibration: a directory of images, for another precision than fp32.
        min_cosine: limit on the mean cosine of logits; None takes `LIMITS` of `export.precision.parity`.
        min_agreement: limit on the share of images with the network's top-1; None as above.
        report: whether to write the bake report as a page beside the graph.
    """

    source: str
    weights: Weights
    output: Path
    overrides: Overrides = KEEP_SIZES
    takes: Literal["uint8", "float32"] = "uint8"
    batch: Batch = ANY_BATCH
    opset: int = 20
    model: str | None = None
    variant: str | None = None
    version: int | None = None
    labels: Path | None = None
    task: Task | None = None
    precision: Precision = "fp32"
    calibration: Path | None = None
    min_cosine: float | None = None
    min_agreement: float | None = None
    report: bool = False


@dataclass(frozen=True)
class Exported:
    """A finished export."""

    path: Path
    manifest: Manifest
    seconds: dict[str, float]  # by step


def export_onnx(request: Request, step: Step = lambda _: nullcontext()) -> Exported:
    """Export one network to one artifact. Whatever fails, the repository is left as it was.

    Raises:
        SourceError, ExportError, ArtifactError: each names the cause and the remedy.
        OSError: the repository cannot be written.
    """
    seconds: dict[str, float] = {}
    with _timed("load", step, seconds):
        named = _read_labels(request.labels)
        overrides = replace(request.overrides, num_classes=None if named is None else len(named))
        loaded = load_source(request.source, request.weights, overrides)
        labels = _labels(request.labels, named, loaded)
        lowering = prepare_lowering(
            request.precision, request.calibration, loaded.preprocess, request.min_cosine, request.min_agreement
        )
    model = _name("model", request.model or loaded.model or _plain(loaded.name.partition(":")[2]))
    variant = _name("variant", request.variant or _own_name(loaded, request.precision))
    version = request.version or next_version(request.output, model, variant)
    normalisation = Normalisation(loaded.preprocess.mean, loaded.preprocess.std)
    takes_pixels = request.takes == "uint8"
    with stage(request.output, model, variant, version) as staging:
        with _timed("reference", step, seconds):
            reference = compute_reference(loaded.network, loaded.image_size, normalisation, request.batch)
            shown = reference if lowering is None else lowering.reference(loaded.network, reference, request.batch)
        network = ArtifactInput(loaded.network, normalisation if takes_pixels else None)
        # Large networks: what a step no longer needs must not be in memory beside what the next one makes.
        loaded = replace(loaded, network=nn.Identity())
        with _timed("trace", step, seconds):
            example = _example(loaded.image_size, request.batch, takes_pixels=takes_pixels)
            built = build_graph(network, example, request.batch, request.opset)
            baked = report_constants(network, built.constants)
            del network
            activation = final_activation(built.model, reference.logits)
            task = decide_task(request.task, loaded.task, activation, loaded.num_classes)
            if lowering is not None:
                lowering.check_task(task)
            boundary = None if task != "multi-label" else 0.0 if activation == "none" else 0.5
            reference, shown = replace(reference, boundary=boundary), replace(shown, boundary=boundary)
            save_graph(built.model, staging.graph)
            operators = {name: (built.traced[name], built.left[name]) for name in sorted(built.traced | built.left)}
            facts = describe_graph(built.model).model_copy(update={"operators": operators})
            gallery = draw_constants(built.model) if request.report else Gallery()
            del built
            gc.collect()  # what was traced refers to itself in circles, and holds the weights
        with _timed("check", step, seconds):
            check_graph(staging.graph)
            tolerance = TOLERANCE if loaded.encoding != ENCODING else UNKNOWN_TOLERANCE
            parity = check_parity(reference, staging.graph, takes_pixels=takes_pixels, tolerance=tolerance)
        if lowering is not None:
            with _timed(request.precision, step, seconds):
                lowered = lowering.rewrite(staging.graph, shown, takes_pixels=takes_pixels)
                facts = lowered.model_copy(update={"operators": operators})
            with _timed("compare", step, seconds):
                parity = lowering.check(staging.graph, shown, parity, takes_pixels=takes_pixels)
        with _timed("write", step, seconds):
            draft = Draft(
                task=task,
                source=_source(loaded, request.weights),
                architecture=loaded.architecture,
                encoding=loaded.encoding,
                resampled=loaded.resampled,
                notes=loaded.notes,
                precision=request.precision,
                target="portable",
                input=ImageInput(
                    name="image",
                    dtype=request.takes,
                    layout="NHWC" if takes_pixels else "NCHW",
                    height=loaded.image_size[0],
                    width=loaded.image_size[1],
                    batch=request.batch,
                ),
                output=LogitsOutput(name="logits", dtype="float32", classes=loaded.num_classes, activation=activation),
                preprocess=loaded.preprocess,
                graph=facts,
                baked=baked,
                parity=parity,
                # It was measured in float32, with one label an image.
                accuracy=loaded.accuracy if lowering is None and task == "single-label" else None,
                tools=_tools(request.source),
                created=datetime.now(UTC).replace(microsecond=0),
            )
            if request.report:
                size = sum(file.stat().st_size for file in staging.directory.iterdir())
                page = render_page(Facts(model, variant, version, draft, labels, size, seconds, gallery))
                (staging.directory / REPORT_NAME).write_text(page, encoding="utf-8")
            manifest = staging.commit(draft, labels)
    return Exported(staging.target, manifest, seconds)


@contextmanager
def _timed(name: str, step: Step, seconds: dict[str, float]) -> Iterator[None]:
    start = time.perf_counter()
    with step(name):
        yield
        give_back()
    seconds[name] = time.perf_counter() - start


def _tools(source: str) -> dict[str, str]:
    """Return the versions of what makes an artifact, the library that the network came from included."""
    library = source.partition(":")[0]
    return {tool: version_of(tool) for tool in (*TOOLS, *({library} & LIBRARIES))}


def _read_labels(file: Path | None) -> list[str] | None:
    try:  # utf-8-sig: editors put a byte order mark in front
        return None if file is None else file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"cannot read --labels {file}: {error}") from error


def _labels(file: Path | None, labels: list[str] | None, loaded: Loaded) -> Sequence[str]:
    if labels is None:
        found = loaded.labels or [str(index) for index in range(loaded.num_classes)]
        return _fit_to_be_written(found, f"the labels of {loaded.name}; name others with --labels FILE")
    if len(labels) != loaded.num_classes or not all(label.strip() for label in labels):
        raise ExportError(
            f"--labels {file} holds {len(labels)} lines; expected {loaded.num_classes}, one label a line and none "
            "empty, without a heading or anything else"
        )
    if len(labels) > 1 and (_are_numbered(labels, 0) or _are_numbered(labels, 1)):
        raise ExportError(
            f"--labels {file} numbers its labels, as in {labels[0]!r}; expected the label alone on each line, in the "
            "order of the classes"
        )
    return _fit_to_be_written(labels, f"--labels {file}; correct the file")


def _fit_to_be_written(labels: Sequence[str], source: str) -> Sequence[str]:
    """Return the labels, or raise ExportError if one could not be read back as it is."""
    for index, label in enumerate(labels):
        flaw = flaw_of_label(label)
        if flaw is not None:
            raise ExportError(f"label {index} ({shown(repr(label))}) {flaw}, in {source}")
    return labels


def _are_numbered(labels: Sequence[str], first: int) -> bool:
    """Whether each label is a row of a table that has the class's number in front, as CSV files have."""
    return all(re.match(rf"\s*\"?{first + index}\"?\s*[,;:\t]", label) for index, label in enumerate(labels))


def _own_name(loaded: Loaded, precision: str) -> str:
    """Return the name of a variant that was given none; what is not float32 says so, to stand beside what is."""
    name = loaded.variant or _plain(loaded.encoding)
    return name if precision == "fp32" else f"{name}-{precision}"


def _name(what: str, name: str) -> str:
    """Return a name that may become a directory, or say why it may not."""
    try:
        return NAME.validate_python(name)
    except ValidationError as error:
        raise ExportError(
            f"{name!r} cannot be a {what}'s name: use a-z, 0-9, '.', '_' and '-', a letter or digit first (--{what})"
        ) from error


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower())


def _example(size: tuple[int, int], batch: Batch, *, takes_pixels: bool) -> torch.Tensor:
    """Return an input to trace with. torch takes a batch of 1 for a constant, so 2 unless the batch is fixed."""
    images = batch.min if batch.min == batch.max else max(batch.min, 2)
    if takes_pixels:
        return torch.zeros(images, *size, 3, dtype=torch.uint8)
    return torch.zeros(images, 3, *size)


def _digest(checkpoint: Path) -> str:
    """Return the SHA-256 of a file; of a folder or of shards, that of their files' names and SHA-256s, a line each."""
    if checkpoint.is_dir():
        files = sorted(file for file in checkpoint.iterdir() if file.is_file())
    else:
        files = files_of(checkpoint)
    if files == [checkpoint]:
        return describe_file(checkpoint).sha256
    lines = "".join(f"{describe_file(file).sha256}  {file.name}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def _source(loaded: Loaded, weights: Weights) -> Source:
    match weights:
        case Checkpoint(path):
            return Source(name=loaded.name, weights="checkpoint", sha256=_digest(path))
        case RandomWeights(seed):
            return Source(name=loaded.name, weights="random", seed=seed)
        case Pretrained():
            return Source(name=loaded.name, weights="pretrained")
