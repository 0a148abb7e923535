"""The configuration of a network: frozen, checked once, written as JSON beside its weights."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

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
        description="what the head sees: the CLS token; it and a distillation token, with a head each and their logits "
        "averaged; or the mean of all patches"
    )
    cls_token: bool | None = Field(default=None, description="default: where `pool` needs it")
    registers: NonNegativeInt = Field(default=0, description="tokens that are neither a patch nor read by a head")
    qkv_bias: bool = True
    layer_scale: bool = Field(default=False, description="what a block adds is multiplied by a learned vector")
    post_norm: bool = Field(default=False, description="norms after what they are before otherwise, as in Swin v2")
    embed_norm: bool = Field(default=False, description="a norm before the first block too (CLIP)")
    norm_after_pool: bool = Field(default=False, description="the last norm after pooling instead of before")

    @property
    def has_cls_token(self) -> bool:
        """Whether there is a CLS token."""
        return self.pool != "mean" if self.cls_token is None else self.cls_token

    @property
    def extra_tokens(self) -> int:
        """How many tokens stand before the patches."""
        return int(self.has_cls_token) + int(self.pool == "distilled") + self.registers

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.post_norm and self.layer_scale:
            raise ValueError("post_norm and layer_scale scale the same channels; choose one of them")
        if self.pool != "mean" and not self.has_cls_token:
            raise ValueError(f"pool is {self.pool}, which reads a CLS token, but cls_token is false")
        return self


class SwinConfig(_Config):
    """A Swin transformer (v1: Liu et al. 2021, v2: 2022); its width doubles at each stage after the first."""

    architecture: Literal["swin"] = "swin"
    version: Literal[1, 2] = Field(default=1, description="2: cosine attention, and norms after what they followed")
    window_size: PositiveInt | tuple[PositiveInt, ...] = Field(
        description="side of a square window, in tokens; for all stages, or for each"
    )
    stage_options: tuple[dict[str, dict[str, Any]], ...] = Field(
        default=(), description="options of the encodings that differ between stages, for each stage or for none"
    )
    masked_score: float = Field(
        default=-100.0, description="added to the scores of tokens that a shift brought together; lower than any score"
    )
    width: PositiveInt = Field(description="of the first stage")
    depths: tuple[PositiveInt, ...] = Field(min_length=1, description="blocks of each stage")
    num_heads: tuple[PositiveInt, ...] = Field(min_length=1, description="heads of each stage")

    def window_of(self, stage: int) -> int:
        """Return the side of a window in that stage, in tokens."""
        return self.window_size if isinstance(self.window_size, int) else self.window_size[stage]

    def encodings_of(self, stage: int) -> dict[str, dict[str, Any]]:
        """Return the encodings with the options they have in that stage."""
        own = self.stage_options[stage] if self.stage_options else {}
        return {name: options | own.get(name, {}) for name, options in self.encodings.items()}


NetworkConfig = Annotated[ViTConfig | SwinConfig, Field(discriminator="architecture")]
