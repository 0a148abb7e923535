"""Input of an artifact: decoded pixels, or normalised floats."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from export.process.errors import ExportError


@dataclass(frozen=True)
class Normalisation:
    """(pixel / 255 − mean) / std, per channel."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class ArtifactInput(nn.Module):
    """Network with the input of its artifact. It shares the network's tensors.

    Args:
        network: network in eval mode that maps float32 [B, 3, height, width] to logits [B, classes].
        pixels: normalisation of uint8 pixels [B, height, width, 3] inside the graph; None keeps the network's input.

    Raises:
        ExportError: the network is in train mode.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, pixels: Normalisation | None) -> None:
        super().__init__()
        training = next((name for name, module in network.named_modules() if module.training), None)
        if training is not None:
            which = f"module {training} of the network" if training else "the network"
            raise ExportError(f"{which} is in train mode; call .eval() on the network before exporting it")
        self.network = network
        self.takes_pixels = pixels is not None
        if pixels is not None:
            mean, std = (torch.tensor(part, dtype=torch.float64).reshape(3, 1, 1) for part in (pixels.mean, pixels.std))
            self.register_buffer("scale", (1 / (255 * std)).float())
            self.register_buffer("shift", (-mean / std).float())
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        """Map uint8 [B, height, width, 3], or the network's input, to logits [B, classes]."""
        if self.takes_pixels:
            image = (
                image.float().permute(0, 3, 1, 2) * self.scale + self.shift
            )  # TensorRT supports uint8 only as the input of a Cast
        logits: Tensor = self.network(image)
        return logits
