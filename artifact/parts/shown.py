"""Optional files of an artifact that are for people: baked constants, sample pictures."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, StringConstraints

from artifact.parts.values import Count, Part

CONSTANTS_FOLDER = "baked"
SAMPLES_FOLDER = "samples"

FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$", max_length=200)]
"""A name that becomes a file and part of an address."""

SampleName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*\.(png|jpe?g|webp)$", max_length=200)
]
"""A file of a format that browsers show."""


class Constant(Part):
    """One constant of the position encoding, as the float32 graph holds it, in `baked/<name>.npy`: float16, C order."""

    name: FileName
    role: Literal["bias", "table", "rotation", "embedding"] = Field(
        description="bias: added to scores, rows are queries, columns keys; table: multiplied with what depends on the "
        "image; rotation: cosines or sines that turn queries and keys; embedding: added to tokens"
    )
    shape: tuple[PositiveInt, PositiveInt, PositiveInt] = Field(description="heads, rows, columns")
    windows: PositiveInt = Field(description="of the constant in the graph; the file has the first that is not zero")
    readers: Count = Field(description="nodes that read it; layers with the same numbers share one constant")
    grid: tuple[PositiveInt, PositiveInt] | None = Field(
        default=None,
        description="height and width in tokens of the window, where the bias between two of its tokens is a function "
        "of their offset in row order, which was checked; extra tokens come before them",
    )
    spans: tuple[PositiveInt, PositiveInt] | None = Field(
        default=None, description="rows and columns of windows that an image is divided into; absent: not known"
    )


class Constants(Part):
    """Constants of the position encoding that have a file."""

    lines: tuple[Constant, ...] = Field(description="in the order in which the graph reads them")
    omitted: Count = Field(default=0, description="constants without a file: all files together would be too large")
