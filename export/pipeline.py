"""The whole way from a source to an artifact: load, bake, trace, check, write."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Literal

import torch
from pydantic import TypeAdapter, ValidationError

from artifact import Batch, Draft, ImageInput, LogitsOutput, Manifest, Source, next_version, stage
from artifact.hashing import describe_file
from artifact.manifest import Name
from export.bake import Normalisation, bake
from export.errors import ExportError
from export.graph import build_graph, describe_graph, save_graph
from export.parity import check_parity
from models.sources import Checkpoint, Loaded, Overrides, Pretrained, RandomWeights, Weights, load_source

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
        loaded = load_source(request.source, request.weights, request.overrides)
        labels = _labels(request.labels, loaded)
    model = _name("model", request.model or loaded.model or _plain(loaded.name.partition(":")[2]))
    variant = _name("variant", request.variant or loaded.variant or _plain(loaded.encoding))
    version = request.version or next_version(request.output, model, variant)
    normalisation = Normalisation(loaded.preprocess.mean, loaded.preprocess.std)
    takes_pixels = request.takes == "uint8"
    with stage(request.output, model, variant, version) as staging:
        with _timed("bake", step, seconds):
            network, baked = bake(loaded.network, normalisation if takes_pixels else None)
        with _timed("trace", step, seconds):
            example = _example(loaded.image_size, request.batch, takes_pixels=takes_pixels)
            graph = build_graph(network, example, request.batch, request.opset)
            save_graph(graph, staging.graph)
        with _timed("check", step, seconds):
            parity = check_parity(
                loaded.network,
                staging.graph,
                loaded.image_size,
                normalisation,
                takes_pixels=takes_pixels,
                batch=request.batch,
            )
        with _timed("write", step, seconds):
            draft = Draft(
                source=_source(loaded, request.weights),
                architecture=loaded.architecture,
                encoding=loaded.encoding,
                resampled=loaded.resampled,
                precision="fp32",
                target="portable",
                input=ImageInput(
                    name="image",
                    dtype=request.takes,
                    layout="NHWC" if takes_pixels else "NCHW",
                    height=loaded.image_size[0],
                    width=loaded.image_size[1],
                    batch=request.batch,
                ),
                output=LogitsOutput(name="logits", dtype="float32", classes=loaded.num_classes),
                preprocess=loaded.preprocess,
                graph=describe_graph(graph),
                baked=baked,
                parity=parity,
                accuracy=loaded.accuracy,
                tools=_tools(request.source),
                created=datetime.now(UTC).replace(microsecond=0),
            )
            manifest = staging.commit(draft, labels)
    return Exported(staging.target, manifest, seconds)


@contextmanager
def _timed(name: str, step: Step, seconds: dict[str, float]) -> Iterator[None]:
    start = time.perf_counter()
    with step(name):
        yield
    seconds[name] = time.perf_counter() - start


def _tools(source: str) -> dict[str, str]:
    """Return the versions of what makes an artifact, the library that the network came from included."""
    library = source.partition(":")[0]
    return {tool: version_of(tool) for tool in (*TOOLS, *({library} & LIBRARIES))}


def _labels(file: Path | None, loaded: Loaded) -> Sequence[str]:
    if file is None:
        return loaded.labels or [str(index) for index in range(loaded.num_classes)]
    try:
        labels = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"cannot read --labels {file}: {error}") from error
    if len(labels) != loaded.num_classes or not all(label.strip() for label in labels):
        raise ExportError(
            f"--labels {file} holds {len(labels)} lines; expected {loaded.num_classes}, one label a line and none empty"
        )
    return labels


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


def _source(loaded: Loaded, weights: Weights) -> Source:
    match weights:
        case Checkpoint(path):
            return Source(name=loaded.name, weights="checkpoint", sha256=describe_file(path).sha256)
        case RandomWeights(seed):
            return Source(name=loaded.name, weights="random", seed=seed)
        case Pretrained():
            return Source(name=loaded.name, weights="pretrained")
