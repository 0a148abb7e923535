"""The vision transformer (ViT, Dosovitskiy et al. 2021; DeiT, Touvron et al. 2021) and its successors.

Shapes: B images, N tokens (E extra ones first: CLS, distillation, registers; then patches in raster order), C width.
"""

import torch
from torch import Tensor, nn

from models.attention import Attention
from models.blocks import MLP, PatchEmbed
from models.config import ViTConfig
from models.encodings import Encoding, Place, build_encoding


class ViTBlock(nn.Module):
    """Attention, then an MLP, each with a norm and a residual connection."""

    def __init__(self, config: ViTConfig, encoding: Encoding) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.attention = Attention(config.width, config.num_heads, encoding, qkv_bias=config.qkv_bias)
        self.norm2 = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.mlp = MLP(config.width, config.mlp_ratio)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, N, C] to [B, N, C]."""
        x = x + self.attention(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class ViT(nn.Module):
    """ViT with any position encoding: on the tokens before the first block, or on the scores of every block.

    Raises:
        ValueError: sizes that do not fit together, an unknown encoding, or an unknown option of an encoding.
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.patch_embed = PatchEmbed(config.image_size, config.patch_size, width)
        self.cls_token = _tokens(1 if config.pool != "mean" else 0, width)
        self.distillation_token = _tokens(1 if config.pool == "distilled" else 0, width)
        self.register_tokens = _tokens(config.registers, width)
        place = Place(self.patch_embed.grid, config.extra_tokens, width, config.num_heads)
        self.position = build_encoding(config.encodings, place, acts_on="tokens")
        encodings = (build_encoding(config.encodings, place, acts_on="attention") for _ in range(config.depth))
        self.blocks = nn.Sequential(*(ViTBlock(config, encoding) for encoding in encodings))
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.head = nn.Linear(width, config.num_classes)
        self.distillation_head = nn.Linear(width, config.num_classes) if config.pool == "distilled" else None
        for tokens in (self.cls_token, self.distillation_token, self.register_tokens):
            if tokens is not None:
                nn.init.trunc_normal_(tokens, std=0.02)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images [B, 3, height, width] to logits [B, classes]."""
        x: Tensor = self.patch_embed(images)
        extra = self.extra_tokens()
        if extra is not None:
            x = torch.cat([extra.expand(x.shape[0], -1, -1), x], dim=1)
        embedding = self.position.embedding()
        if embedding is not None:
            x = x + embedding
        x = self.blocks(x)
        logits: Tensor
        if self.distillation_head is not None:
            x = self.norm(x[:, :2])
            logits = (self.head(x[:, 0]) + self.distillation_head(x[:, 1])) / 2
        elif self.config.pool == "cls":
            logits = self.head(self.norm(x[:, 0]))
        else:
            logits = self.head(self.norm(x[:, self.config.extra_tokens :]).mean(dim=1))
        return logits

    def extra_tokens(self) -> Tensor | None:
        """Return the tokens before the patches, [1, E, C], or None if there are none."""
        parts = (self.cls_token, self.distillation_token, self.register_tokens)
        there: list[Tensor] = [part for part in parts if part is not None]
        if len(there) < 2:
            return there[0] if there else None
        return torch.cat(there, dim=1)


def _tokens(count: int, width: int) -> nn.Parameter | None:
    """Return learned tokens [1, count, C], or None if `count` is 0."""
    return nn.Parameter(torch.zeros(1, count, width)) if count else None
