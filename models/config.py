"""Configuration of a network: immutable, validated once, written as JSON beside the weights."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt

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
    """A ViT or DeiT (Dosovitskiy et al. 2021; Touvron et al. 2021)."""

    architecture: Literal["vit"] = "vit"
    width: PositiveInt
    depth: PositiveInt
    num_heads: PositiveInt
    pool: Literal["cls", "distilled", "mean"] = Field(
        description="input of the head: the CLS token; the CLS and a distillation token, each with its own head, their "
        "logits averaged; or the mean of all patches"
    )
    registers: NonNegativeInt = Field(default=0, description="number of register tokens, which no head reads")
    qkv_bias: bool = True

    @property
    def extra_tokens(self) -> int:
        """Number of tokens before the patches."""
        return {"mean": 0, "cls": 1, "distilled": 2}[self.pool] + self.registers


class SwinConfig(_Config):
    """A Swin transformer (v1: Liu et al. 2021, v2: 2022); its width doubles at each stage after the first."""

    architecture: Literal["swin"] = "swin"
    version: Literal[1, 2] = Field(default=1, description="2: cosine attention, and norms after attention and MLP")
    window_size: PositiveInt | tuple[PositiveInt, ...] = Field(
        description="side of a square window, in tokens: one for all stages, or one for each stage"
    )
    stage_options: tuple[dict[str, dict[str, Any]], ...] = Field(
        default=(),
        description="options of encodings that differ between stages, an entry for each stage; empty if none do",
    )
    width: PositiveInt = Field(description="width of the first stage")
    depths: tuple[PositiveInt, ...] = Field(min_length=1, description="number of blocks of each stage")
    num_heads: tuple[PositiveInt, ...] = Field(min_length=1, description="number of heads of each stage")

    def window_of(self, stage: int) -> int:
        """Return the side of a window in a stage, in tokens."""
        return self.window_size if isinstance(self.window_size, int) else self.window_size[stage]

    def encodings_of(self, stage: int) -> dict[str, dict[str, Any]]:
        """Return the encodings with their options in a stage."""
        own = self.stage_options[stage] if self.stage_options else {}
        return {name: options | own.get(name, {}) for name, options in self.encodings.items()}


NetworkConfig = Annotated[ViTConfig | SwinConfig, Field(discriminator="architecture")]
