"""The configuration of a network: frozen, checked once, written as JSON beside its weights."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

Size = tuple[PositiveInt, PositiveInt]


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    image_size: Size = Field(description="(height, width) in pixels")
    patch_size: PositiveInt = Field(description="side of a square patch, in pixels")
    num_classes: PositiveInt
    mlp_ratio: PositiveFloat = 4.0
    layer_norm_eps: PositiveFloat = 1e-6
    encodings: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="position encodings by registry name, each with its options; none if empty"
    )

    @property
    def encoding(self) -> str:
        """The encodings' names in one word: `none`, `swin-table`, `learned+irpe-product-contextual-k`."""
        return "+".join(self.encodings) or "none"


class ViTConfig(_Config):
    """A ViT or DeiT (Dosovitskiy et al. 2021)."""

    architecture: Literal["vit"] = "vit"
    width: PositiveInt
    depth: PositiveInt
    num_heads: PositiveInt
    pool: Literal["cls", "mean"] = Field(description="what the head sees: the CLS token, or the mean of all tokens")


class SwinConfig(_Config):
    """A Swin transformer v1 (Liu et al. 2021); its width doubles at each stage after the first."""

    architecture: Literal["swin"] = "swin"
    window_size: PositiveInt = Field(description="side of a square window, in tokens")
    width: PositiveInt = Field(description="of the first stage")
    depths: tuple[PositiveInt, ...] = Field(min_length=1, description="blocks of each stage")
    num_heads: tuple[PositiveInt, ...] = Field(min_length=1, description="heads of each stage")


NetworkConfig = Annotated[ViTConfig | SwinConfig, Field(discriminator="architecture")]
