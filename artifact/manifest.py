"""Schema of `manifest.json`, format 1.

Each field has a description; `docs/manifest.schema.json` is the JSON Schema generated from this module.
"""

from typing import Literal, Self

from pydantic import AwareDatetime, Field, PositiveInt, model_validator

from artifact.parts.engine import Engine
from artifact.parts.graph import Baked, Graph, Rewrites, Source
from artifact.parts.measured import Accuracy, Golden, Parity
from artifact.parts.shown import CONSTANTS_FOLDER, SAMPLES_FOLDER, Constants, SampleName
from artifact.parts.tensors import ImageInput, LogitsOutput, Preprocess
from artifact.parts.values import Activation, Count, Name, Part, Precision, Sha256, Target, Task, Text
from artifact.version_key import VersionKey

FORMAT: Literal[1] = 1
MANIFEST_NAME = "manifest.json"
GRAPH_NAME = "model.onnx"
LABELS_NAME = "labels.txt"
GOLDEN_NAME = "golden.npz"
ENGINE_NAME = "model.engine"

_UNFIT: dict[Task, frozenset[Activation]] = {
    "single-label": frozenset({"sigmoid"}),
    "multi-label": frozenset({"softmax"}),
    "regression": frozenset({"softmax"}),
}


def constant_file(name: str) -> str:
    """Return the path of a constant's file, relative to the manifest."""
    return f"{CONSTANTS_FOLDER}/{name}.npy"


def sample_file(name: str) -> str:
    """Return the path of a sample image, relative to the manifest."""
    return f"{SAMPLES_FOLDER}/{name}"


class FileEntry(Part):
    """Expected size and hash of a file of the artifact."""

    sha256: Sha256
    size: Count = Field(description="bytes")


class _Identity(Part):
    """Format, names and files: the fields that the writer of an artifact adds to a draft."""

    format: Literal[1]
    model: Name
    variant: Name
    version: PositiveInt
    labels: str = Field(description="file with one label per line, in class order")
    files: dict[str, FileEntry] = Field(description="all files but the manifest, by path relative to it")


class Draft(Part):
    """Manifest without names and files, which are added when the artifact is written."""

    task: Task = "single-label"
    source: Source
    architecture: Text
    encoding: Text
    not_rehosted: str | None = Field(
        default=None,
        description="written by earlier exporters, which re-hosted some architectures: the reason why the library's "
        "own module was exported instead",
    )
    resampled: tuple[str, ...] = Field(
        default=(), description="tables resampled to another resolution than that of training, and the method"
    )
    notes: tuple[str, ...] = Field(
        default=(),
        description="automatic decisions on loading, such as eval mode; a sentence for each",
    )
    precision: Precision = Field(description="int8: products with weights are int8, everything else is float32")
    target: Target = Field(
        description="runtime that the graph was optimised for; any backend may serve it. tensorrt: "
        "no operator is ruled out by TensorRT's support table"
    )
    input: ImageInput
    output: LogitsOutput
    preprocess: Preprocess
    graph: Graph
    baked: tuple[Baked, ...]
    rewrites: Rewrites | None = Field(default=None, description="absent if the exporter did not record them")
    parity: Parity
    golden: Golden | None = Field(
        default=None, description="absent if the exporter wrote none, or the images are too large"
    )
    engine: Engine | None = Field(default=None, description="TensorRT engine of the graph; absent: there is none")
    constants: Constants | None = Field(default=None, description="absent if the exporter stored none")
    samples: tuple[SampleName, ...] | None = Field(
        default=None, description="sample images, in the folder `samples`; absent if there are none"
    )
    about: Text | None = Field(
        default=None, description="information for users: the training data, and unsuitable uses"
    )
    preparation: Literal["ink"] | None = Field(
        default=None,
        description="preparation that a user interface may offer for photos; ink: level the paper's brightness, crop "
        "to one drawn character, thicken its strokes, 8×8 cells; absent: none",
    )
    accuracy: Accuracy | None = None
    tools: dict[str, str] = Field(description="versions of the tools that made the artifact")
    created: AwareDatetime

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.preprocess.size != (self.input.height, self.input.width):
            raise ValueError(
                f"preprocess yields {self.preprocess.size} pixels, input takes {(self.input.height, self.input.width)}"
            )
        if (self.precision == "fp32") != (self.parity.cosine is None):
            raise ValueError(f"parity.cosine is required except for fp32, this is {self.precision}")
        if self.precision == "int8" and self.parity.calibration is None:
            raise ValueError("int8 requires parity.calibration, the images that its ranges come from")
        if self.output.activation in _UNFIT[self.task]:
            raise ValueError(f"a final {self.output.activation} contradicts task {self.task}")
        if self.engine is not None and self.target != "tensorrt":
            raise ValueError(f"an engine requires target tensorrt, this is {self.target}")
        if self.task != "single-label" and self.accuracy is not None:
            raise ValueError(f"accuracy requires task single-label, this is {self.task}")
        return self


class Manifest(Draft, _Identity):
    """manifest.json, format 1."""

    @property
    def key(self) -> VersionKey:
        """Model, variant and version."""
        return VersionKey(self.model, self.variant, self.version)

    def same_but_accuracy(self, other: "Manifest") -> bool:
        """Return whether `other` is equal apart from the accuracy."""
        without = {"accuracy": None}
        return self.model_copy(update=without) == other.model_copy(update=without)

    @model_validator(mode="after")
    def _files_are_listed(self) -> Self:
        golden = () if self.golden is None else (("golden file", self.golden.file),)
        engine = () if self.engine is None else (("engine", self.engine.file),)
        constants = () if self.constants is None else self.constants.lines
        shown = [
            *(("constant", constant_file(constant.name)) for constant in constants),
            *(("sample", sample_file(name)) for name in self.samples or ()),
        ]
        for what, name in (("graph", GRAPH_NAME), ("labels", self.labels), *golden, *engine, *shown):
            if name not in self.files:
                raise ValueError(f"files does not list the {what}, {name}")
        return self
