"""Input and output tensors of an artifact, and the preprocessing of images."""

from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from artifact.parts.values import Activation, Part, Pixels, Triple


class Batch(Part):
    """Range of batch sizes that an artifact accepts, inclusive."""

    min: PositiveInt
    max: PositiveInt

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"batch min {self.min} is above batch max {self.max}")
        return self


class ImageInput(Part):
    """Input tensor: uint8 NHWC pixels as decoded, or float32 NCHW already normalised."""

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


class LogitsOutput(Part):
    """Output tensor, [batch, classes]; for regression, classes is the number of values."""

    name: Literal["logits"]
    dtype: Literal["float32"]
    classes: PositiveInt
    activation: Activation = Field(
        default="none",
        description="final activation inside the network; if it is not none, the output contains probabilities and "
        "must not be activated again",
    )


class Preprocess(Part):
    """Preprocessing of a decoded RGB image: resize, crop, then (x / 255 - mean) / std.

    An integer `resize` is the shorter side in pixels and keeps the aspect ratio. A pair is the exact (height, width),
    or with `keep_aspect` the (height, width) that the resized image just covers. `crop` is the (height, width) of a
    central crop. With uint8 inputs, the graph does the arithmetic.
    """

    resize: Pixels | tuple[Pixels, Pixels]
    crop: tuple[Pixels, Pixels] | None = None
    keep_aspect: Literal[True] | None = Field(
        default=None,
        description="whether the resized image covers the pair `resize` and keeps its aspect ratio; default: false",
    )
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"]
    mean: Triple = Field(description="per channel, in units of pixel / 255")
    std: Triple = Field(description="per channel, in units of pixel / 255")

    @model_validator(mode="after")
    def _one_output_size(self) -> Self:
        if (isinstance(self.resize, int) or self.keep_aspect) and self.crop is None:
            what = "by the shorter side" if isinstance(self.resize, int) else "that keeps the aspect ratio"
            raise ValueError(f"a resize {what} needs a crop; without one, images would differ in size")
        if isinstance(self.resize, int) and self.keep_aspect:
            raise ValueError("keep_aspect requires a pair; a resize by the shorter side always keeps the aspect ratio")
        if self.crop is not None:
            smallest = (self.resize, self.resize) if isinstance(self.resize, int) else self.resize
            if self.crop[0] > smallest[0] or self.crop[1] > smallest[1]:
                raise ValueError(f"crop {self.crop} is larger than the resized image {self.resize}")
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive, got {self.std}")
        return self

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the network's input in pixels."""
        if self.crop is not None:
            return self.crop
        assert not isinstance(self.resize, int)
        return self.resize

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """Return the (width, height) after resizing, rounded as in torchvision and timm."""
        if isinstance(self.resize, int):
            short, long = sorted((width, height))
            scaled = int(self.resize * long / short)
            return (self.resize, scaled) if width <= height else (scaled, self.resize)
        if self.keep_aspect is None:
            return self.resize[1], self.resize[0]
        ratio = min(height / self.resize[0], width / self.resize[1])
        return round(width / ratio), round(height / ratio)
