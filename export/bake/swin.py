"""The inference form of Swin v1.

Tokens stay in window order between blocks: roll, partition, reverse and roll back are one constant order of tokens, and
none at all where two blocks agree. Patch merging takes its four parts from the previous order straight into the next.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.bake.attention import InferenceAttention
from export.bake.fold import Affine, affine, norm_into_linear
from export.bake.layers import InferenceHead, InferenceMLP, Normalisation, Patches
from export.bake.order import merging_order, reorder, window_order
from export.bake.report import Report, report_embedding, report_order
from models import Swin
from models.swin import PatchMerging, SwinBlock, SwinStage


class Reorder(nn.Module):
    """Tokens in another, constant order."""

    index: Tensor

    def __init__(self, index: Tensor) -> None:
        super().__init__()
        self.register_buffer("index", index)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, L, C] to [B, len(index), C]."""
        return x.index_select(1, self.index)


class InferenceMerging(nn.Module):
    """Patch merging of tokens that stand four and four together; a norm that comes first is folded."""

    reduction: Affine

    def __init__(self, merging: PatchMerging) -> None:
        super().__init__()
        self.eps = merging.norm.eps
        self.post_norm = merging.norm if merging.post_norm else None
        self.reduction = (
            affine(merging.reduction) if merging.post_norm else norm_into_linear(merging.norm, merging.reduction)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, L, C] to [B, L/4, 2C]."""
        _, length, width = x.shape
        x = x.reshape(-1, length // 4, 4 * width)
        merged: Tensor
        if self.post_norm is not None:
            merged = self.post_norm(self.reduction(x))
        else:
            merged = self.reduction(F.layer_norm(x, x.shape[-1:], eps=self.eps))
        return merged


class InferenceSwin(nn.Module):
    """A Swin transformer that computes what depends on the image, and nothing else.

    Args:
        swin: in float64; its layers are taken over.
        pixels: see `export.bake.bake`.
        report: gets a line for each piece of position work.
    """

    embedding: Tensor | None

    def __init__(self, swin: Swin, pixels: Normalisation | None, report: Report) -> None:
        super().__init__()
        stages = [stage for stage in swin.stages if isinstance(stage, SwinStage)]
        first = _blocks(stages[0])[0]
        self.patches = Patches(swin.patch_embed, first.window, pixels)
        self.embed_norm = swin.embed_norm
        order = _order(first)
        report.append(report_order("patch_embed", order))
        embedding = swin.position.embedding()
        self.register_buffer("embedding", None if embedding is None else embedding.detach()[order])
        if self.embedding is not None:
            report.append(report_embedding("position", self.embedding))
        forms = []
        for index, stage in enumerate(stages):
            form, order = _stage(stage, order, f"stages.{index}", report)
            forms.append(form)
        self.stages = nn.Sequential(*forms)
        self.head = InferenceHead(swin.norm, swin.head, mean_from=0)

    def forward(self, image: Tensor) -> Tensor:
        """Map the image (see `Patches`) to logits [B, classes]."""
        x: Tensor = self.embed_norm(self.patches(image) + self.patches.bias)
        if self.embedding is not None:
            x = x + self.embedding
        logits: Tensor = self.head(self.stages(x))
        return logits


def _stage(stage: SwinStage, order: Tensor, name: str, report: Report) -> tuple[nn.Sequential, Tensor]:
    """Return the form of a stage whose tokens come in `order`, and the order in which they leave."""
    form: OrderedDict[str, nn.Module] = OrderedDict()
    if stage.merge is not None:
        merged = _order(_blocks(stage)[0])
        index = reorder(order, merging_order(stage.merge.grid, merged))
        report.append(report_order(f"{name}.merge", index))
        form["order"], form["merge"] = Reorder(index), InferenceMerging(stage.merge)
        order = merged
    blocks = []
    for number, block in enumerate(_blocks(stage)):
        blocks.append(_block(block, order, f"{name}.blocks.{number}", report))
        order = _order(block)
    form["blocks"] = nn.Sequential(*blocks)
    return nn.Sequential(form), order


def _block(block: SwinBlock, order: Tensor, name: str, report: Report) -> nn.Sequential:
    """Return the form of a block whose tokens come in `order`; they leave in the block's own."""
    form: OrderedDict[str, nn.Module] = OrderedDict()
    wanted = _order(block)
    if not torch.equal(order, wanted):
        index = reorder(order, wanted)
        report.append(report_order(name, index))
        form["order"] = Reorder(index)
    num_tokens = block.window[0] * block.window[1]
    form["attention"] = InferenceAttention(
        block.norm1,
        block.attention,
        windows=len(wanted) // num_tokens,
        num_tokens=num_tokens,
        mask=block.mask,
        post_norm=block.post_norm,
        name=f"{name}.attention",
        report=report,
    )
    form["mlp"] = InferenceMLP(block.norm2, block.mlp, post_norm=block.post_norm)
    return nn.Sequential(form)


def _order(block: SwinBlock) -> Tensor:
    return window_order(block.grid, block.window, block.shift)


def _blocks(stage: SwinStage) -> list[SwinBlock]:
    return [block for block in stage.blocks if isinstance(block, SwinBlock)]
