"""JSON documents of responses under /v1.

Those of a classification are dataclasses, which are made, and written as JSON, in half of the time of pydantic models.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from artifact import Accuracy, Baked, Constants, Graph, ImageInput, LogitsOutput, Parity, Preprocess, Source, Task

_PREDICTIONS = (
    "most probable first; of a multi-label model those with at least the threshold's probability; of a regression all "
    "values, in the order of the outputs"
)


_RUNNING = (
    "what the backend computes in, as it says itself: fp32, bf16, fp16, or of a quantised graph its products and the "
    "rest, such as int8+bf16"
)


class Document(BaseModel):
    """A document, which does not change."""

    model_config = ConfigDict(frozen=True)


@dataclass(slots=True)
class Prediction:
    """One class."""

    label: str
    index: Annotated[int, Field(description="position of the class in the logits, from 0")]
    probability: Annotated[
        float,
        Field(description="softmax of the logits over all classes; of a multi-label model, sigmoid of the class's own"),
    ]


@dataclass(slots=True)
class Value:
    """One output of a regression."""

    label: str
    index: Annotated[int, Field(description="position in the outputs, from 0")]
    value: Annotated[float, Field(description="as the network computes it")]


Predictions = list[Prediction] | list[Value]


@dataclass(slots=True)
class StageTimes:
    """Stage times of one request, in ms; they add up to the total."""

    decode: Annotated[float, Field(description="multipart or base64, then the image file, to upright RGB pixels")]
    preprocess: Annotated[float, Field(description="resize and crop, for float32 inputs normalise")]
    queue: Annotated[float, Field(description="waiting: to be decoded, then from enqueued to dispatched")]
    inference: float
    postprocess: Annotated[float, Field(description="the way back from the batch, softmax, and the best classes")]
    total: Annotated[
        float, Field(description="from the last byte of the body to the answer, before it is written as JSON")
    ]


@dataclass(slots=True)
class Classification:
    """The answer to one image."""

    id: Annotated[str, Field(description="the X-Request-Id")]
    model: str
    variant: str
    encoding: str
    version: int
    task: Task
    predictions: Annotated[Predictions, Field(description=_PREDICTIONS)]
    latency_ms: StageTimes
    batch_size: Annotated[int, Field(description="images that ran together")]
    backend: str
    precision: Annotated[str, Field(description="of the artifact")]
    running_precision: Annotated[str, Field(description=_RUNNING)]


class Candidate(Document):
    """A variant that `auto` looked at."""

    variant: str
    version: int
    top1: float | None = Field(description="accuracy, from the manifest; null if it was never measured")
    p95_ms: float = Field(description="of the total")
    basis: Literal["measured", "warm-up"] = Field(
        description="measured: over the last minute; warm-up: nothing was, and it is the time of the first run"
    )
    verdict: Literal["chosen", "too slow", "down"]


class Selection(Document):
    """Choice of `variant=auto`."""

    reason: str
    considered: list[Candidate] = Field(
        description="most accurate first; those after the chosen one were not looked at"
    )


@dataclass(slots=True)
class AutoClassification(Classification):
    """The answer to one image with `variant=auto`."""

    selection: Selection


class ComparedVariant(Document):
    """The answer of one variant."""

    variant: str
    encoding: str
    version: int
    predictions: Predictions = Field(description=_PREDICTIONS)
    latency_ms: StageTimes = Field(
        description="decode and preprocess happened once for all with the same preprocessing"
    )
    batch_size: int = Field(description="images that ran together")
    backend: str
    precision: str = Field(description="of the artifact")
    running_precision: str = Field(description=_RUNNING)


class FailedVariant(Document):
    """A variant that gave no answer, as a problem of its own."""

    variant: str
    version: int
    type: str
    title: str
    status: int = Field(description="what a classification by this variant alone would have been answered")
    detail: str
    retry_after: int | None = Field(description="seconds, for what may well succeed later")


class Vote(Document):
    """Variants that find the same class the most probable."""

    label: str
    variants: list[str]


class LabelsVote(Document):
    """Variants of a multi-label model that find the same classes to apply."""

    labels: list[str] = Field(description="all with at least the threshold's probability, in class order")
    variants: list[str]


class Agreement(Document):
    """Agreement of the variants that answered: on the most probable class, or on all that apply."""

    unanimous: bool
    share: float = Field(description="of the variants, that vote for the first of `votes`")
    votes: list[Vote] | list[LabelsVote] = Field(description="most variants first")


class Spread(Document):
    """Spread of the variants of a regression that answered."""

    max_difference: float = Field(description="the largest, of one output between two variants")


class Comparison(Document):
    """The answers of several variants to one image."""

    id: str = Field(description="the X-Request-Id")
    model: str
    task: Task
    agreement: Agreement | Spread
    variants: list[ComparedVariant] = Field(description="in the order asked for, else by name")
    failed: list[FailedVariant]
    total_ms: float = Field(description="from the last byte of the body to the last variant's answer")


class GoldenFacts(Document):
    """Result of the golden check at load: whether the backend reproduced the logits of the golden file."""

    status: Literal["passed", "unchecked"] = Field(description="unchecked: the artifact has no golden file")
    precision: str | None = Field(default=None, description="that the backend computes in; null if unchecked")
    images: int | None = Field(default=None, description="of the golden file; null if unchecked")
    error: float | None = Field(
        default=None, description="largest error of a logit over the largest logit; null if unchecked"
    )
    limit: float | None = Field(default=None, description="on the error, for the precision; null if unchecked")


class VariantSummary(Document):
    """A variant; encoding, precision, backend, accuracy and golden check are those of its newest version."""

    variant: str
    versions: list[int] = Field(description="oldest first; a request that names none gets the last")
    encoding: str
    precision: str = Field(description="of the artifact")
    backend: str
    running_precision: str = Field(description=_RUNNING)
    accuracy: Accuracy | None = Field(description="null if it was never measured")
    golden: GoldenFacts


class ModelSummary(Document):
    """A model and its variants."""

    model: str
    task: Task = Field(description="of all its variants")
    default_variant: str = Field(description="the most accurate one; a request that names none gets it")
    variants: list[VariantSummary]


class RefusedArtifact(Document):
    """An artifact of the repository that is not served as it is there now."""

    name: str = Field(description="<model>/<variant>/<version>, by its directories")
    reason: str


class LoadingArtifact(Document):
    """An artifact that is being loaded, to be served once it is warm."""

    name: str = Field(description="<model>/<variant>/<version>")
    since: AwareDatetime


class ModelList(Document):
    """Everything in the repository."""

    default_model: str | None = Field(description="null if a request has to name one")
    models: list[ModelSummary]
    refused: list[RefusedArtifact] = Field(description="in order of their names, at most 200")
    refused_count: int = Field(description="how many are refused in all")
    loading: list[LoadingArtifact]


class VersionFacts(Document):
    """One version, from its manifest."""

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
        description="constants that `baked/{name}` returns; null: the artifact has none"
    )
    samples: list[str] = Field(description="pictures that `samples/{name}` returns")
    preparation: str | None = Field(description="what the page offers for photos; null: nothing")
    about: str | None = Field(description="what it was trained on, and what it is not for; null: not stated")
    parity: Parity
    golden: GoldenFacts
    accuracy: Accuracy | None
    tools: dict[str, str]
    created: AwareDatetime
    bytes: int = Field(description="size of its files")
    backend: str
    running_precision: str = Field(description=_RUNNING)
    running_operators: Mapping[str, Mapping[str, int]] | None = Field(
        description="nodes of the graph that runs, by the backend's operator and precision; null if it does not say"
    )


class VariantFacts(Document):
    """A variant and its versions, oldest first."""

    model: str
    variant: str
    versions: list[VersionFacts]
