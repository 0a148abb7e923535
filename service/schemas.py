"""JSON documents of responses under /v1.

Documents of a classification are dataclasses, which are created and serialised in half of the time of pydantic models.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from artifact import Accuracy, Baked, Constants, Graph, ImageInput, LogitsOutput, Parity, Preprocess, Source, Task

_PREDICTIONS = (
    "most probable first; for a multi-label model those with at least the threshold's probability; for a regression "
    "all values, in the order of the outputs"
)


_RUNNING = (
    "running precision reported by the backend: fp32, bf16, fp16; for a quantized graph, of the products and the rest, "
    "such as int8+bf16"
)


class Document(BaseModel):
    """Immutable document."""

    model_config = ConfigDict(frozen=True)


@dataclass(slots=True)
class Prediction:
    """Predicted class."""

    label: str
    index: Annotated[int, Field(description="position of the class in the logits, from 0")]
    probability: Annotated[
        float,
        Field(
            description="softmax of the logits over all classes; for a multi-label model, sigmoid of the class's logit"
        ),
    ]


@dataclass(slots=True)
class Value:
    """Output of a regression."""

    label: str
    index: Annotated[int, Field(description="position in the outputs, from 0")]
    value: Annotated[float, Field(description="output of the network")]


Predictions = list[Prediction] | list[Value]


@dataclass(slots=True)
class StageTimes:
    """Stage times of a request in ms; they add up to the total."""

    decode: Annotated[
        float, Field(description="decoding of multipart or base64, and of the image file to upright RGB pixels")
    ]
    preprocess: Annotated[float, Field(description="resize and crop; for float32 inputs also normalise")]
    queue: Annotated[float, Field(description="waiting for a decoding thread, and from enqueued to dispatched")]
    inference: float
    postprocess: Annotated[
        float, Field(description="return from the batch, softmax, and selection of the best classes")
    ]
    total: Annotated[float, Field(description="from the last byte of the body to the response, before serialisation")]


@dataclass(slots=True)
class Classification:
    """Classification of an image."""

    id: Annotated[str, Field(description="the X-Request-Id")]
    model: str
    variant: str
    encoding: str
    version: int
    task: Task
    predictions: Annotated[Predictions, Field(description=_PREDICTIONS)]
    latency_ms: StageTimes
    batch_size: Annotated[int, Field(description="number of images in the batch")]
    backend: str
    precision: Annotated[str, Field(description="precision of the artifact")]
    running_precision: Annotated[str, Field(description=_RUNNING)]


class Candidate(Document):
    """Variant considered by `variant=auto`."""

    variant: str
    version: int
    top1: float | None = Field(description="accuracy from the manifest; null if not measured")
    p95_ms: float = Field(description="p95 of the total")
    basis: Literal["measured", "warm-up"] = Field(
        description="measured: p95 of the last minute; warm-up: time of the first run, without measurements"
    )
    verdict: Literal["chosen", "too slow", "down"]


class Selection(Document):
    """Selection by `variant=auto`."""

    reason: str
    considered: list[Candidate] = Field(description="most accurate first, up to the selected variant")


@dataclass(slots=True)
class AutoClassification(Classification):
    """Classification of an image with `variant=auto`."""

    selection: Selection


class ComparedVariant(Document):
    """Result of a variant."""

    variant: str
    encoding: str
    version: int
    predictions: Predictions = Field(description=_PREDICTIONS)
    latency_ms: StageTimes = Field(
        description="decode and preprocess are shared by variants with the same preprocessing"
    )
    batch_size: int = Field(description="number of images in the batch")
    backend: str
    precision: str = Field(description="precision of the artifact")
    running_precision: str = Field(description=_RUNNING)


class FailedVariant(Document):
    """Variant without a result, with its problem."""

    variant: str
    version: int
    type: str
    title: str
    status: int = Field(description="status of a classification by this variant alone")
    detail: str
    retry_after: int | None = Field(description="seconds, if a retry may succeed")


class Vote(Document):
    """Variants with the same most probable class."""

    label: str
    variants: list[str]


class LabelsVote(Document):
    """Variants of a multi-label model with the same set of classes."""

    labels: list[str] = Field(description="all with at least the threshold's probability, in class order")
    variants: list[str]


class Agreement(Document):
    """Agreement of the variants with a result: on the most probable class, or on the set of classes."""

    unanimous: bool
    share: float = Field(description="share of the variants that vote for the first of `votes`")
    votes: list[Vote] | list[LabelsVote] = Field(description="most variants first")


class Spread(Document):
    """Spread of the variants of a regression with a result."""

    max_difference: float = Field(description="largest difference of an output between two variants")


class Comparison(Document):
    """Results of several variants for an image."""

    id: str = Field(description="the X-Request-Id")
    model: str
    task: Task
    agreement: Agreement | Spread
    variants: list[ComparedVariant] = Field(description="in the requested order, by default by name")
    failed: list[FailedVariant]
    total_ms: float = Field(description="from the last byte of the body to the last variant's result")


class GoldenFacts(Document):
    """Result of the golden check at load: whether the backend reproduced the logits of the golden file."""

    status: Literal["passed", "unchecked"] = Field(description="unchecked: the artifact has no golden file")
    precision: str | None = Field(default=None, description="precision of the backend; null if unchecked")
    images: int | None = Field(default=None, description="number of images in the golden file; null if unchecked")
    error: float | None = Field(
        default=None, description="largest error of a logit over the largest logit; null if unchecked"
    )
    limit: float | None = Field(default=None, description="limit on the error for the precision; null if unchecked")


class VariantSummary(Document):
    """Variant; encoding, precision, backend, accuracy and golden check are those of its newest version."""

    variant: str
    versions: list[int] = Field(description="oldest first; the last one is the default")
    encoding: str
    precision: str = Field(description="precision of the artifact")
    backend: str
    running_precision: str = Field(description=_RUNNING)
    accuracy: Accuracy | None = Field(description="null if not measured")
    golden: GoldenFacts


class ModelSummary(Document):
    """Model and its variants."""

    model: str
    task: Task = Field(description="task of all its variants")
    default_variant: str = Field(description="the most accurate variant")
    variants: list[VariantSummary]


class RefusedArtifact(Document):
    """Refused artifact of the repository."""

    name: str = Field(description="<model>/<variant>/<version>, by its directories")
    reason: str


class LoadingArtifact(Document):
    """Artifact that is being loaded."""

    name: str = Field(description="<model>/<variant>/<version>")
    since: AwareDatetime


class ModelList(Document):
    """Contents of the repository."""

    default_model: str | None = Field(description="null if requests must name a model")
    models: list[ModelSummary]
    refused: list[RefusedArtifact] = Field(description="by name, at most 200")
    refused_count: int = Field(description="total number of refused artifacts")
    loading: list[LoadingArtifact]


class VersionFacts(Document):
    """Version, with facts from its manifest."""

    version: int
    encoding: str
    architecture: str
    precision: str
    target: str
    source: Source
    input: ImageInput
    output: LogitsOutput
    preprocess: Preprocess
    labels: list[str] = Field(description="in class order")
    graph: Graph
    baked: list[Baked]
    constants: Constants | None = Field(
        description="constants that `baked/{name}` returns; null if the artifact has none"
    )
    samples: list[str] = Field(description="images that `samples/{name}` returns")
    preparation: str | None = Field(description="preparation that the page offers for photos; null if none")
    about: str | None = Field(description="training data and unsuitable uses; null if not given")
    parity: Parity
    golden: GoldenFacts
    accuracy: Accuracy | None
    tools: dict[str, str]
    created: AwareDatetime
    bytes: int = Field(description="total size of its files")
    backend: str
    running_precision: str = Field(description=_RUNNING)
    running_operators: Mapping[str, Mapping[str, int]] | None = Field(
        description="number of running nodes by the backend's operator and precision; null if not reported"
    )


class VariantFacts(Document):
    """Variant and its versions, oldest first."""

    model: str
    variant: str
    versions: list[VersionFacts]
