"""The schema of `manifest.json`, format 1.

Every field is described where it stands; `docs/manifest.schema.json` is the same as JSON Schema.
"""

from typing import Annotated, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    PositiveInt,
    StringConstraints,
    model_validator,
)

FORMAT: Literal[1] = 1
MANIFEST_NAME = "manifest.json"

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=128)]
"""A model's or variant's name: it becomes a directory and part of an address, so no slash, space or upper case."""

Text = Annotated[str, StringConstraints(max_length=1000)]
"""Text that is repeated in lists of models and in answers, at most 1,000 characters."""

Pixels = Annotated[int, Field(ge=1, le=65_535)]
"""A side of an image; no format of pictures has a longer one."""

Task = Literal["single-label", "multi-label", "regression"]
"""What the outputs are: scores of exclusive classes, scores of independent classes, or values."""

Target = Literal["portable", "onnxruntime", "openvino", "tensorrt"]
"""What a graph was written for. It is standard ONNX in any case: every backend may serve it."""

Activation = Literal["none", "sigmoid", "softmax"]

RunPrecision = Literal["fp32", "tf32", "fp16", "bf16", "int8"]
"""The precision that a runtime computes in, which may be below the artifact's; of an int8 artifact, `int8` is what the
artifact itself says, and any other is what the runtime computes in where the graph is not quantized."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Measure = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
SignedShare = Annotated[float, Field(ge=-1, le=1)]
Triple = tuple[FiniteFloat, FiniteFloat, FiniteFloat]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Part):
    """Where the network came from."""

    name: str = Field(description="What was given to the exporter, without directories: `posbake:learned.json`.")
    weights: Literal["checkpoint", "pretrained", "random"] = Field(description="How the network got its weights.")
    sha256: Sha256 | None = Field(
        default=None,
        description="SHA-256 of the checkpoint file; of a folder or shards, of `sha256sum` of the files.",
    )
    seed: int | None = Field(default=None, description="Seed of random weights.")

    @model_validator(mode="after")
    def _weights_are_traceable(self) -> Self:
        if (self.weights == "checkpoint") != (self.sha256 is not None):
            raise ValueError("sha256 belongs to weights='checkpoint', and only there")
        if (self.weights == "random") != (self.seed is not None):
            raise ValueError("seed belongs to weights='random', and only there")
        return self


class Batch(_Part):
    """The batch sizes an artifact accepts, both ends included."""

    min: PositiveInt
    max: PositiveInt

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"batch min {self.min} is above batch max {self.max}")
        return self


class ImageInput(_Part):
    """The input tensor: uint8 NHWC pixels as decoded, or float32 NCHW already normalised."""

    name: Literal["image"]
    dtype: Literal["uint8", "float32"]
    layout: Literal["NHWC", "NCHW"]
    height: Pixels = Field(description="pixels")
    width: Pixels = Field(description="pixels")
    batch: Batch

    @model_validator(mode="after")
    def _dtype_fits_layout(self) -> Self:
        if (self.dtype, self.layout) not in {("uint8", "NHWC"), ("float32", "NCHW")}:
            raise ValueError(f"{self.dtype} {self.layout} is not an input: use uint8 NHWC or float32 NCHW")
        return self


class LogitsOutput(_Part):
    """The output tensor, [batch, classes]; for regression, classes counts the values."""

    name: Literal["logits"]
    dtype: Literal["float32"]
    classes: PositiveInt
    activation: Activation = Field(
        default="none",
        description="what the network itself applies last: the output holds probabilities where it is not none, and "
        "must not be activated again",
    )


class Preprocess(_Part):
    """From a decoded RGB image to the network's input: resize, crop, then (x / 255 - mean) / std.

    An integer `resize` is the shorter side in pixels and keeps the aspect ratio; a pair is the exact (height, width),
    or with `keep_aspect` what the resized image just covers. `crop` takes a central (height, width). uint8 inputs leave
    the arithmetic to the graph.
    """

    resize: Pixels | tuple[Pixels, Pixels]
    crop: tuple[Pixels, Pixels] | None = None
    keep_aspect: Literal[True] | None = Field(
        default=None, description="the image covers the pair `resize` and keeps its aspect ratio; absent, it does not"
    )
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"]
    mean: Triple = Field(description="per channel, in units of pixel / 255")
    std: Triple = Field(description="per channel, in units of pixel / 255")

    @model_validator(mode="after")
    def _one_output_size(self) -> Self:
        if (isinstance(self.resize, int) or self.keep_aspect) and self.crop is None:
            what = "by the shorter side" if isinstance(self.resize, int) else "that keeps the aspect ratio"
            raise ValueError(f"a resize {what} needs a crop: images would differ in size")
        if isinstance(self.resize, int) and self.keep_aspect:
            raise ValueError("keep_aspect belongs to a pair; a resize by the shorter side keeps the ratio anyway")
        if self.crop is not None:
            smallest = (self.resize, self.resize) if isinstance(self.resize, int) else self.resize
            if self.crop[0] > smallest[0] or self.crop[1] > smallest[1]:
                raise ValueError(f"crop {self.crop} is larger than the resized image {self.resize}")
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive, got {self.std}")
        return self

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels of what reaches the network."""
        if self.crop is not None:
            return self.crop
        assert not isinstance(self.resize, int)
        return self.resize

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """Return the (width, height) that an image is resized to, rounded as torchvision and timm do."""
        if isinstance(self.resize, int):
            short, long = sorted((width, height))
            scaled = int(self.resize * long / short)
            return (self.resize, scaled) if width <= height else (scaled, self.resize)
        if self.keep_aspect is None:
            return self.resize[1], self.resize[0]
        ratio = min(height / self.resize[0], width / self.resize[1])
        return round(width / ratio), round(height / ratio)


class FileEntry(_Part):
    """What one file of the artifact must be."""

    sha256: Sha256
    size: Count = Field(description="bytes")


class Graph(_Part):
    """What the ONNX graph is made of."""

    opset: PositiveInt
    nodes: Count
    ops: dict[str, PositiveInt] = Field(description="nodes by operator")
    constant_only_nodes: Count = Field(description="nodes that could have been computed at export")
    table_gathers: Count = Field(description="Gather nodes that read from a constant")
    operators: dict[str, tuple[Count, Count]] | None = Field(
        default=None,
        description="ATen operators of the network as torch traces it, and how many of each were left when all was "
        "computed that does not depend on the image",
    )
    float32_nodes: dict[str, PositiveInt] | None = Field(
        default=None,
        description="nodes by operator that compute in float32; in fp16 and bf16, because half precision cannot hold "
        "what they read or yield, or the opset does not have the operator in it; in int8, layers that were not "
        "quantized because a limit was missed with them",
    )


class Rewrite(_Part):
    """What became of chains of data movement that are alike, or why they, or nodes that are alike, stay as they are."""

    module: Text = Field(description="the module of the original network; * stands for a number; empty: not known")
    before: Text = Field(description="operators, in order")
    after: Text | None = Field(
        default=None,
        description="operators that took their place, one entry for each tensor that is made; absent: none",
    )
    reason: Text | None = Field(default=None, description="why it was declined; absent: it was rewritten")
    count: PositiveInt = Field(description="chains or nodes that are alike")

    @model_validator(mode="after")
    def _either_or(self) -> Self:
        if (self.after is None) == (self.reason is None):
            raise ValueError("a rewrite has either after or reason")
        return self


class Rewrites(_Part):
    """What graph rewrites did with data movement, and what they declined; the most frequent first."""

    rewritten: Count = Field(description="chains that were rewritten")
    declined: Count = Field(description="chains and nodes that stay as they are, each with a reason")
    lines: tuple[Rewrite, ...]
    omitted: Count = Field(default=0, description="less frequent lines that are not listed")


class Baked(_Part):
    """What became of one piece of position work."""

    module: str = Field(description="the module of the original network")
    kind: Literal["static", "query-dependent"]
    what: str = Field(description="what was computed at export or, if query-dependent, what is left to compute and why")
    shape: tuple[Count, ...] = Field(description="of the constant the graph holds")
    bytes: Count


class Cosine(_Part):
    """Of the angle between the graph's and the network's logits of an image, both taken as vectors."""

    mean: SignedShare = Field(description="over the images")
    min: SignedShare
    limit: SignedShare = Field(description="on the mean")


class Calibration(_Part):
    """The images that a precision was compared on and, for int8, calibrated with."""

    directory: str = Field(description="the last part of its name")
    images: PositiveInt


class Parity(_Part):
    """How far the graph's logits are from the original network's, over synthetic pictures or those of `calibration`.

    A graph of another precision than fp32 is made from one in float32, which `tolerance` holds for; its own limits are
    `cosine.limit` and `agreement_limit`.
    """

    reference: str
    batches: tuple[PositiveInt, ...]
    max_abs_error: Measure
    max_rel_error: Measure = Field(description="max abs error over max abs logit")
    batch_errors: tuple[Measure, ...] | None = Field(
        default=None, description="max_rel_error of each of `batches`; absent where these are images of `calibration`"
    )
    top1_agreement: Share = Field(
        description="share of images with the same most probable class; of a multi-label network, with the same "
        "classes of a probability of 0.5 or more"
    )
    tolerance: Measure = Field(description="limit on max_rel_error of the float32 graph")
    float32_error: Measure | None = Field(
        default=None,
        description="max_rel_error of the float32 graph that this one was made from; absent, this one is that",
    )
    cosine: Cosine | None = Field(default=None, description="absent for fp32")
    agreement_limit: Share | None = Field(default=None, description="limit on top1_agreement; absent for fp32")
    runs: tuple[Literal["native", "emulated"], ...] | None = Field(
        default=None,
        description="native: the graph itself, in ONNX Runtime on the CPU; emulated: a copy that computes in float32 "
        "and rounds the result of each half-precision node. Figures are the worse of both; absent for fp32, which is "
        "native",
    )
    calibration: Calibration | None = Field(default=None, description="absent, the images were synthetic")


class Golden(_Part):
    """Images with the original network's logits; a backend must reproduce them before it serves the artifact."""

    file: Text = Field(description="a stored, not compressed, .npz: uint8 pixels [n, H, W, 3], float64 logits [n, C]")
    images: Annotated[int, Field(ge=1, le=64)] = Field(description="n")
    limits: dict[RunPrecision, Measure] = Field(
        description="by the precision that the runtime computes in, on the largest error over the largest logit"
    )


class Accuracy(_Part):
    """Top-1 on a labelled data set, measured with the weights that were exported."""

    dataset: Text
    top1: Share
    count: PositiveInt


class Manifest(_Part):
    """manifest.json, format 1."""

    format: Literal[1]
    model: Name
    variant: Name
    version: PositiveInt
    task: Task = "single-label"
    source: Source
    architecture: Text
    encoding: Text
    not_rehosted: str | None = Field(
        default=None,
        description="written by earlier exporters, which had networks of their own for some architectures: why the "
        "library's own module was exported instead",
    )
    resampled: tuple[str, ...] = Field(
        default=(), description="what was brought to another resolution than that of training, and how"
    )
    notes: tuple[str, ...] = Field(
        default=(),
        description="what was settled on loading without being asked for, such as eval mode; a sentence each",
    )
    precision: Literal["fp32", "fp16", "bf16", "int8"] = Field(
        description="int8: of the products with weights; everything else is float32 then"
    )
    target: Target = Field(
        description="what the graph was written for; any backend may serve it. tensorrt: nothing in it is ruled out by "
        "TensorRT's support table"
    )
    input: ImageInput
    output: LogitsOutput
    preprocess: Preprocess
    labels: str = Field(description="the file that holds one label a line, in class order")
    files: dict[str, FileEntry] = Field(description="every file but the manifest, by path relative to it")
    graph: Graph
    baked: tuple[Baked, ...]
    rewrites: Rewrites | None = Field(
        default=None, description="absent: written by an exporter that did not record them"
    )
    parity: Parity
    golden: Golden | None = Field(
        default=None, description="absent: written by an exporter that made none, or its images are too large"
    )
    accuracy: Accuracy | None = None
    tools: dict[str, str] = Field(description="versions of what made the artifact")
    created: AwareDatetime

    def same_but_accuracy(self, other: "Manifest") -> bool:
        """Return whether `other` describes the same artifact, whatever accuracy either states."""
        without = {"accuracy": None}
        return self.model_copy(update=without) == other.model_copy(update=without)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.preprocess.size != (self.input.height, self.input.width):
            raise ValueError(
                f"preprocess yields {self.preprocess.size} pixels, input takes {(self.input.height, self.input.width)}"
            )
        if (self.precision == "fp32") != (self.parity.cosine is None):
            raise ValueError(f"parity.cosine belongs to every precision but fp32, this is {self.precision}")
        if self.precision == "int8" and self.parity.calibration is None:
            raise ValueError("int8 needs parity.calibration: its ranges come from images")
        if self.output.activation in _UNFIT[self.task]:
            raise ValueError(f"a final {self.output.activation} contradicts task {self.task}")
        if self.task != "single-label" and self.accuracy is not None:
            raise ValueError(f"accuracy is of one label an image, task is {self.task}")
        golden = () if self.golden is None else (("golden file", self.golden.file),)
        for what, name in (("graph", GRAPH_NAME), ("labels", self.labels), *golden):
            if name not in self.files:
                raise ValueError(f"files does not list the {what}, {name}")
        return self


_UNFIT: dict[Task, frozenset[Activation]] = {
    "single-label": frozenset({"sigmoid"}),
    "multi-label": frozenset({"softmax"}),
    "regression": frozenset({"softmax"}),
}

GRAPH_NAME = "model.onnx"
LABELS_NAME = "labels.txt"
GOLDEN_NAME = "golden.npz"
