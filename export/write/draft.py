"""Draft of a manifest: all fields except the files."""

import hashlib
from datetime import UTC, datetime
from importlib.metadata import version as version_of
from pathlib import Path

import onnxruntime

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
_TOOLS = ("posbake", "torch", "onnx", "onnxscript", "onnx-ir")


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
        loaded: the loaded source; its network is not used.
        task: task of the network.
        activation: final activation.
        graph: description of the written graph.
        baked: lines of the bake report.
        rewrites: applied and declined rewrites.
        parity: parity of the written graph with the network.
        golden: the written golden file; None if there is none.
        constants: the written position constants.
        samples: names of the written sample images; None if there are none.
    """
    # The source's accuracy applies to the float32 graph and single-label tasks.
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
    """Return the SHA-256 of a file; for a folder or shards, that of the lines `<SHA-256>  <name>` of the files."""
    if checkpoint.is_dir():
        files = sorted(file for file in checkpoint.iterdir() if file.is_file())
    else:
        files = files_of(checkpoint)
    if files == [checkpoint]:
        return describe_file(checkpoint).sha256
    lines = "".join(f"{describe_file(file).sha256}  {file.name}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def _tools(source: str) -> dict[str, str]:
    """Return the versions of the packages used for an artifact, including the network's library."""
    library = source.partition(":")[0]
    versions = {tool: version_of(tool) for tool in (*_TOOLS, *({library} & _LIBRARIES))}
    return {**versions, "onnxruntime": onnxruntime.__version__}  # its package may be onnxruntime-gpu
