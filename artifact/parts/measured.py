"""Measurements of an artifact: parity, golden file, accuracy."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from artifact.parts.values import Measure, Part, RunPrecision, Share, SignedShare, Text


class Cosine(Part):
    """Cosine similarity of the graph's and the network's logits of an image."""

    mean: SignedShare = Field(description="mean over the images")
    min: SignedShare
    limit: SignedShare = Field(description="limit on the mean")


class Calibration(Part):
    """Images for the comparison of a precision and, for int8, for calibration."""

    directory: str = Field(description="last component of its path")
    images: PositiveInt


class Parity(Part):
    """Error of the graph's logits against the original network's, over synthetic images or those of `calibration`.

    A graph in a lower precision is made from a float32 graph. `tolerance` is the limit for the float32 graph;
    `cosine.limit` and `agreement_limit` are the limits for the lower precision.
    """

    reference: str
    batches: tuple[PositiveInt, ...]
    max_abs_error: Measure
    max_rel_error: Measure = Field(description="max abs error over max abs logit")
    batch_errors: tuple[Measure, ...] | None = Field(
        default=None, description="max_rel_error of each of `batches`; absent if the images are those of `calibration`"
    )
    top1_agreement: Share = Field(
        description="share of images with the same top-1 class; for a multi-label network, with the same classes of "
        "probability 0.5 or more"
    )
    tolerance: Measure = Field(description="limit on max_rel_error of the float32 graph")
    float32_error: Measure | None = Field(
        default=None,
        description="max_rel_error of the float32 graph that this graph was made from; absent for fp32",
    )
    cosine: Cosine | None = Field(default=None, description="absent for fp32")
    agreement_limit: Share | None = Field(default=None, description="limit on top1_agreement; absent for fp32")
    runs: tuple[Literal["native", "emulated"], ...] | None = Field(
        default=None,
        description="native: the graph in ONNX Runtime on the CPU; emulated: a copy that computes in float32 and "
        "rounds the result of each half-precision node. The figures are the worse of both; absent for fp32 (native)",
    )
    calibration: Calibration | None = Field(default=None, description="absent if the images are synthetic")


class Golden(Part):
    """Images with the original network's logits; a backend must reproduce them before it serves the artifact."""

    file: Text = Field(description="uncompressed .npz: uint8 pixels [n, H, W, 3], float64 logits [n, C]")
    images: Annotated[int, Field(ge=1, le=64)] = Field(description="n")
    limits: dict[RunPrecision, Measure] = Field(
        description="limit on the largest error over the largest logit, by the precision that the runtime computes in"
    )


class Accuracy(Part):
    """Top-1 accuracy on a labelled data set, measured with the exported weights."""

    dataset: Text
    top1: Share
    count: PositiveInt
