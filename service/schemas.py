"""What goes in and out as JSON, as OpenAPI documents it."""

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from artifact import Accuracy, Baked, Graph, ImageInput, LogitsOutput, Parity, Preprocess, Source


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True)


class ImageDocument(_Document):
    """A body of type application/json."""

    image: str = Field(description="the image file in base64, without line breaks")


class Prediction(_Document):
    """One class."""

    label: str
    index: int = Field(description="position of the class in the logits, from 0")
    probability: float = Field(description="softmax of the logits over all classes")


class StageTimes(_Document):
    """Where the time of one request went, in ms; the stages add up to the total."""

    decode: float = Field(description="multipart or base64, then the image file, to upright RGB pixels")
    preprocess: float = Field(description="resize and crop, for float32 inputs normalise")
    queue: float = Field(description="waiting for a worker")
    inference: float
    postprocess: float = Field(description="softmax, the best classes, and the way back from the worker")
    total: float = Field(description="from the last byte of the body to the answer, before it is written as JSON")


class Classification(_Document):
    """The answer to one image."""

    id: str = Field(description="the X-Request-Id")
    model: str
    variant: str
    encoding: str
    version: int
    predictions: list[Prediction] = Field(description="most probable first")
    latency_ms: StageTimes
    batch_size: int = Field(description="images that ran together")
    backend: str
    precision: str


class VariantSummary(_Document):
    """A variant; encoding, precision and accuracy are those of its newest version."""

    variant: str
    versions: list[int] = Field(description="oldest first; a request that names none gets the last")
    encoding: str
    precision: str
    accuracy: Accuracy | None = Field(description="null if it was never measured")


class ModelSummary(_Document):
    """A model and its variants."""

    model: str
    default_variant: str = Field(description="the most accurate one; a request that names none gets it")
    variants: list[VariantSummary]


class RefusedArtifact(_Document):
    """An artifact of the repository that is not served."""

    name: str = Field(description="<model>/<variant>/<version>, by its directories")
    reason: str


class ModelList(_Document):
    """Everything in the repository."""

    default_model: str | None = Field(description="null if a request has to name one")
    models: list[ModelSummary]
    refused: list[RefusedArtifact]


class VersionFacts(_Document):
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
    parity: Parity
    accuracy: Accuracy | None
    tools: dict[str, str]
    created: AwareDatetime
    bytes: int = Field(description="size of its files")
    backend: str


class VariantFacts(_Document):
    """A variant and its versions, oldest first."""

    model: str
    variant: str
    versions: list[VersionFacts]


class StageLatency(_Document):
    """Of one stage, in ms."""

    mean: float = Field(description="over all answers")
    p50: float
    p90: float
    p95: float
    p99: float


class VersionLatency(_Document):
    """How long the answers of one version took."""

    model: str
    variant: str
    version: int
    count: int = Field(description="answers since the start")
    stages: dict[str, StageLatency] = Field(description="by stage, and `total`; empty without answers")


class LatencyReport(_Document):
    """Latency since the start."""

    window: int = Field(description="percentiles are over the last so many answers of a version")
    versions: list[VersionLatency]


class Health(_Document):
    """The state of this process."""

    status: str


class ProblemDocument(BaseModel):
    """RFC 9457; further members depend on the type."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str = Field(description="what was wrong and what would be right")
    id: str = Field(description="the X-Request-Id")
