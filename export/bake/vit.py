"""The inference form of the ViT.

The CLS token needs no expansion to the batch: the patches are padded by one token of zeros in front, and one constant
[N, C] holds CLS and its position in row 0, and below the positions and the patch embedding's bias.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.bake.layers import (
    InferenceAttention,
    InferenceHead,
    InferenceMLP,
    Normalisation,
    Patches,
    Report,
    report_embedding,
)
from models import ViT
from models.vit import ViTBlock


class InferenceViT(nn.Module):
    """A ViT that computes what depends on the image, and nothing else.

    Args:
        vit: in float64; its layers are taken over.
        pixels: see `export.bake.bake`.
        report: gets a line for each piece of position work.
    """

    position: Tensor

    def __init__(self, vit: ViT, pixels: Normalisation | None, report: Report) -> None:
        super().__init__()
        self.patches = Patches(vit.patch_embed, vit.patch_embed.grid, pixels)
        self.extra_tokens = 0 if vit.cls_token is None else 1
        bias = self.patches.bias
        rows, columns = vit.patch_embed.grid
        constant = bias.detach().expand(rows * columns, -1)
        if vit.cls_token is not None:
            constant = torch.cat([vit.cls_token.detach()[0], constant])
        embedding = vit.position.embedding()
        if embedding is not None:
            constant = constant + embedding.detach()
        self.register_buffer("position", constant if embedding is not None or self.extra_tokens else bias.detach())
        if embedding is not None:
            report.append(report_embedding("position", constant))
        self.blocks = nn.Sequential(
            *(_block(block, f"blocks.{index}", report) for index, block in enumerate(vit.blocks))
        )
        self.head = InferenceHead(vit.norm, vit.head, first_token_only=vit.config.pool == "cls")

    def forward(self, image: Tensor) -> Tensor:
        """Map the image (see `Patches`) to logits [B, classes]."""
        x: Tensor = self.patches(image)
        if self.extra_tokens:
            x = F.pad(x, (0, 0, self.extra_tokens, 0))
        logits: Tensor = self.head(self.blocks(x + self.position))
        return logits


def _block(block: nn.Module, name: str, report: Report) -> nn.Sequential:
    assert isinstance(block, ViTBlock)
    attention = InferenceAttention(block.norm1, block.attention, 1, None, f"{name}.attention", report)
    return nn.Sequential(OrderedDict(attention=attention, mlp=InferenceMLP(block.norm2, block.mlp)))
