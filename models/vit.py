"""The vision transformer (ViT, Dosovitskiy et al. 2021; DeiT, Touvron et al. 2021).

Shapes: B images, N tokens (the CLS token first, then patches in raster order), C width.
"""

import torch
from torch import Tensor, nn

from models.attention import Attention
from models.blocks import MLP, PatchEmbed
from models.config import ViTConfig
from models.encodings import Encoding, Place, build_encoding


class ViTBlock(nn.Module):
    """Attention, then an MLP, each on normalised tokens and added to its input (pre-norm)."""

    def __init__(self, config: ViTConfig, encoding: Encoding) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.attention = Attention(config.width, config.num_heads, encoding)
        self.norm2 = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.mlp = MLP(config.width, config.mlp_ratio)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, N, C] to [B, N, C]."""
        x = x + self.attention(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class ViT(nn.Module):
    """A ViT with any position encoding: on the tokens before the first block, or in every block's scores.

    Raises:
        ValueError: sizes that do not fit together, an unknown encoding or an unknown option of one.
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbed(config.image_size, config.patch_size, config.width)
        extra_tokens = 1 if config.pool == "cls" else 0
        place = Place(self.patch_embed.grid, extra_tokens, config.width, config.num_heads)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width)) if extra_tokens else None
        self.position = build_encoding(config.encodings, place, acts_on="tokens")
        self.blocks = nn.Sequential(
            *(ViTBlock(config, build_encoding(config.encodings, place, acts_on="scores")) for _ in range(config.depth))
        )
        self.norm = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.head = nn.Linear(config.width, config.num_classes)
        if self.cls_token is not None:
            nn.init.trunc_normal_(self.cls_token, std=0.02)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images [B, 3, height, width] to logits [B, classes]."""
        x: Tensor = self.patch_embed(images)
        if self.cls_token is not None:
            x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1)
        embedding = self.position.embedding()
        if embedding is not None:
            x = x + embedding
        x = self.norm(self.blocks(x))
        x = x[:, 0] if self.config.pool == "cls" else x.mean(dim=1)
        logits: Tensor = self.head(x)
        return logits
