"""Optional files of an artifact for display: baked constants, sample images."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, StringConstraints

from artifact.parts.values import Count, Part

CONSTANTS_FOLDER = "baked"
SAMPLES_FOLDER = "samples"

FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$", max_length=200)]
"""Name that is used as a file name and in URLs."""

SampleName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*\.(png|jpe?g|webp)$", max_length=200)
]
"""Name of a file in a format that browsers display."""


class Constant(Part):
    """Constant of the position encoding in the float32 graph, stored in `baked/<name>.npy`: float16, C order."""

    name: FileName
    role: Literal["bias", "table", "rotation", "embedding"] = Field(
        description="bias: added to scores, rows are queries, columns keys; table: multiplied by query-dependent "
        "values; rotation: cosines or sines of the rotation of queries and keys; embedding: added to tokens"
    )
    shape: tuple[PositiveInt, PositiveInt, PositiveInt] = Field(description="heads, rows, columns")
    windows: PositiveInt = Field(
        description="number of windows of the constant in the graph; the file has the first one that is not zero"
    )
    readers: Count = Field(description="number of nodes that read it; layers with equal values share a constant")
    grid: tuple[PositiveInt, PositiveInt] | None = Field(
        default=None,
        description="height and width of the window in tokens; present only if the bias between two tokens was "
        "verified to depend on their offset alone (raster order, extra tokens first)",
    )
    spans: tuple[PositiveInt, PositiveInt] | None = Field(
        default=None, description="rows and columns of windows in the image; absent if unknown"
    )


class Constants(Part):
    """Constants of the position encoding with a file."""

    lines: tuple[Constant, ...] = Field(description="constants in the order in which the graph reads them")
    omitted: Count = Field(
        default=0, description="number of constants without a file, because the total size would be too large"
    )
