"""A small network with a position encoding, exported by torch.onnx without posbake."""

import onnx_ir as ir
import torch
from torch import Tensor, nn


class RelativePositions(nn.Module):
    """Addition of a table that is looked up in every call, as in published attention layers."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.linspace(-1, 1, 15 * 23 * 3).reshape(15 * 23, 3))
        self.cls = nn.Parameter(torch.ones(1, 1, 3))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens [B, N, 3] to [B, N + 1, 3]."""
        rows = torch.arange(tokens.shape[0], device=tokens.device).sum() * 0
        index = torch.arange(tokens.shape[1], device=tokens.device) % (15 * 23) + rows
        # torch's exporter keeps a Split of constants and its readers in the graph.
        pieces: tuple[Tensor, ...] = torch.split(self.table.mean(dim=1), [1, 15 * 23 - 1])
        scale, shift = pieces
        tokens = tokens + self.table[index] * scale + shift[:1]
        return torch.cat([self.cls.expand(tokens.shape[0], -1, -1), tokens], dim=1)


class Small(nn.Module):
    """A network from images [B, 3, 16, 24] to logits [B, 5]."""

    def __init__(self) -> None:
        super().__init__()
        self.positions = RelativePositions()
        self.head = nn.Linear(3, 5)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits [B, 5]."""
        logits: Tensor = self.head(self.positions(image.flatten(2).transpose(1, 2)).mean(dim=1))
        return logits


def stock_export() -> ir.Model:
    """Return the network as torch.onnx alone exports it, with a dynamic batch."""
    torch.manual_seed(0)
    program = torch.onnx.export(
        Small().eval(),
        (torch.zeros(2, 3, 16, 24),),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        input_names=["image"],
        output_names=["logits"],
        opset_version=20,
        verbose=False,
    )
    assert program is not None
    return program.model
