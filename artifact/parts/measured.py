"""Measurements of an artifact: parity, golden file, accuracy."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from artifact.parts.values import Measure, Part, RunPrecision, Share, SignedShare, Text


class Cosine(Part):
    """Of the angle between the graph's and the network's logits of an image, both taken as vectors."""

    mean: SignedShare = Field(description="over the images")
    min: SignedShare
    limit: SignedShare = Field(description="on the mean")


class Calibration(Part):
    """The images that a precision was compared on and, for int8, calibrated with."""

    directory: str = Field(description="the last part of its name")
    images: PositiveInt


class Parity(Part):
    """Error of the graph's logits against the original network's, over synthetic pictures or those of `calibration`.

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


class Golden(Part):
    """Images with the original network's logits; a backend must reproduce them before it serves the artifact."""

    file: Text = Field(description="a stored, not compressed, .npz: uint8 pixels [n, H, W, 3], float64 logits [n, C]")
    images: Annotated[int, Field(ge=1, le=64)] = Field(description="n")
    limits: dict[RunPrecision, Measure] = Field(
        description="by the precision that the runtime computes in, on the largest error over the largest logit"
    )


class Accuracy(Part):
    """Top-1 on a labelled data set, measured with the weights that were exported."""

    dataset: Text
    top1: Share
    count: PositiveInt
