"""The inference form of the ViT.

Extra tokens need no expansion to the batch: the patches are padded by tokens of zeros in front, and one constant [N, C]
holds the extra tokens and their positions in its first rows, and below the positions and the patch embedding's bias.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.bake.attention import InferenceAttention
from export.bake.layers import InferenceHead, InferenceMLP, Normalisation, Patches
from export.bake.report import Report, report_embedding
from models import ViT
from models.vit import LayerScale, ViTBlock


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
        config = vit.config
        self.patches = Patches(vit.patch_embed, vit.patch_embed.grid, pixels)
        self.extra_tokens = config.extra_tokens
        bias = self.patches.bias
        rows, columns = vit.patch_embed.grid
        constant = bias.detach().expand(rows * columns, -1)
        extra = vit.extra_tokens()
        if extra is not None:
            constant = torch.cat([extra.detach()[0], constant])
        embedding = vit.position.embedding()
        if embedding is not None:
            constant = constant + embedding.detach()
        self.register_buffer("position", constant if embedding is not None or extra is not None else bias.detach())
        if embedding is not None:
            report.append(report_embedding("position", constant))
        self.embed_norm = vit.embed_norm
        num_tokens = self.extra_tokens + rows * columns
        self.blocks = nn.Sequential(
            *(_block(block, num_tokens, f"blocks.{index}", report) for index, block in enumerate(vit.blocks))
        )
        if config.pool == "mean":
            self.head = InferenceHead(
                vit.norm, vit.head, mean_from=config.extra_tokens, norm_after_pool=config.norm_after_pool
            )
        else:
            heads = [head for head in (vit.head, vit.distillation_head) if head is not None]
            self.head = InferenceHead(vit.norm, *heads)

    def forward(self, image: Tensor) -> Tensor:
        """Map the image (see `Patches`) to logits [B, classes]."""
        x: Tensor = self.patches(image)
        if self.extra_tokens:
            x = F.pad(x, (0, 0, self.extra_tokens, 0))
        logits: Tensor = self.head(self.blocks(self.embed_norm(x + self.position)))
        return logits


def _block(block: nn.Module, num_tokens: int, name: str, report: Report) -> nn.Sequential:
    assert isinstance(block, ViTBlock)
    attention = InferenceAttention(
        block.norm1,
        block.attention,
        windows=1,
        num_tokens=num_tokens,
        mask=None,
        post_norm=block.post_norm,
        name=f"{name}.attention",
        report=report,
        gamma=_gamma(block.scale1),
    )
    mlp = InferenceMLP(block.norm2, block.mlp, post_norm=block.post_norm, gamma=_gamma(block.scale2))
    return nn.Sequential(OrderedDict(attention=attention, mlp=mlp))


def _gamma(scale: nn.Module) -> Tensor | None:
    return scale.gamma if isinstance(scale, LayerScale) else None
