"""Draft of a manifest: everything except the files."""

import hashlib
from datetime import UTC, datetime
from importlib.metadata import version as version_of
from pathlib import Path

from artifact import (
    Activation,
    Baked,
    Constants,
    Draft,
    Golden,
    Graph,
    ImageInput,
    LogitsOutput,
    Parity,
    Rewrites,
    Source,
    Task,
)
from artifact.hashing import describe_file
from export.request import ExportRequest
from export.verify.golden import OMITTED
from models.sources import Checkpoint, Loaded, Pretrained, RandomWeights, Weights
from models.sources.checkpoints import files_of

_LIBRARIES = {"timm", "torchvision", "transformers"}
_TOOLS = ("posbake", "torch", "onnx", "onnxscript", "onnx-ir", "onnxruntime")


def make_draft(
    request: ExportRequest,
    loaded: Loaded,
    task: Task,
    activation: Activation,
    graph: Graph,
    baked: tuple[Baked, ...],
    rewrites: Rewrites,
    parity: Parity,
    golden: Golden | None,
    constants: Constants,
    samples: tuple[str, ...] | None,
) -> Draft:
    """Return the manifest without its files.

    Args:
        request: the request.
        loaded: the source; its network is not used.
        task: kind of outputs.
        activation: final activation.
        graph: description of the written graph.
        baked: its position constants.
        rewrites: applied and declined rewrites of data movement.
        parity: parity of the written graph with the network.
        golden: the written golden file, if any.
        constants: the written position constants.
        samples: names of the written sample images, if any.
    """
    # The accuracy is that of the float32 graph, for single-label tasks.
    as_measured = request.precision == "fp32" and task == "single-label"
    return Draft(
        task=task,
        source=_source(loaded, request.weights),
        architecture=loaded.architecture,
        encoding=loaded.encoding,
        resampled=loaded.resampled,
        notes=loaded.notes if golden is not None else (*loaded.notes, OMITTED),
        precision=request.precision,
        target=request.target,
        input=ImageInput(
            name="image",
            dtype=request.takes,
            layout="NHWC" if request.takes_pixels else "NCHW",
            height=loaded.image_size[0],
            width=loaded.image_size[1],
            batch=request.batch,
        ),
        output=LogitsOutput(name="logits", dtype="float32", classes=loaded.num_classes, activation=activation),
        preprocess=loaded.preprocess,
        graph=graph,
        baked=baked,
        rewrites=rewrites,
        parity=parity,
        golden=golden,
        constants=constants,
        samples=samples,
        about=request.about,
        preparation=request.preparation,
        accuracy=loaded.accuracy if as_measured else None,
        tools=_tools(request.source),
        created=datetime.now(UTC).replace(microsecond=0),
    )


def _source(loaded: Loaded, weights: Weights) -> Source:
    match weights:
        case Checkpoint(path):
            return Source(name=loaded.name, weights="checkpoint", sha256=digest(path))
        case RandomWeights(seed):
            return Source(name=loaded.name, weights="random", seed=seed)
        case Pretrained():
            return Source(name=loaded.name, weights="pretrained")


def digest(checkpoint: Path) -> str:
    """Return the SHA-256 of a file; of a folder or of shards, that of their files' names and SHA-256s, a line each."""
    if checkpoint.is_dir():
        files = sorted(file for file in checkpoint.iterdir() if file.is_file())
    else:
        files = files_of(checkpoint)
    if files == [checkpoint]:
        return describe_file(checkpoint).sha256
    lines = "".join(f"{describe_file(file).sha256}  {file.name}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def _tools(source: str) -> dict[str, str]:
    """Return the versions of what makes an artifact, the library that the network came from included."""
    library = source.partition(":")[0]
    return {tool: version_of(tool) for tool in (*_TOOLS, *({library} & _LIBRARIES))}
