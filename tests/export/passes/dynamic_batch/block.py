"""A network of one block that each test defines, with its inputs and constants."""

import torch
from torch import Tensor, nn

from tests.export.tracing.program.programs import Apply, Function

BATCHES = (1, 2, 3, 7)
SIZE = (4, 6)
TOKENS = 24
TOLERANCE = 1e-5  # float32 on both sides, sums of a few dozen numbers
WINDOWS = torch.randn(4, 6, 6, generator=torch.Generator().manual_seed(1))  # one mask for each of four windows
TABLE = torch.randn(TOKENS + 1, 3, generator=torch.Generator().manual_seed(2))
OFFSETS = (torch.arange(3)[:, None] - torch.arange(3)).abs()


class Network(nn.Module):
    """A block defined by the test, and a head that yields logits."""

    def __init__(self, what: Function) -> None:
        super().__init__()
        self.block = Apply(what)
        with torch.no_grad():
            features = what(torch.zeros(1, 3, *SIZE)).shape[1]
        self.head = nn.Linear(features, 5)
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            self.head.weight.copy_(torch.randn(5, features, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.block(x))
        return logits


class LookupByBatch(nn.Module):
    """A network that uses the batch size as a Python number, as the published iRPE does."""

    def forward(self, x: Tensor) -> Tensor:
        scale: float = {2: 1.0}[len(x)]
        return x.flatten(1) * scale


class ConstantOfExampleBatch(nn.Module):
    """A network that adds a constant whose first axis is the batch size of the example."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) + torch.ones(2, 1)


def images(batch: int) -> Tensor:
    return torch.randn(batch, 3, *SIZE, generator=torch.Generator().manual_seed(batch))
