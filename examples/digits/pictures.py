"""`python -m examples.digits.pictures`: plot the effect of each trained encoding, for docs/encodings.md.

One panel per head of the first layer shows the term that the encoding adds to the scores between the middle token of
the grid and each other token. For a contextual encoding, the term is averaged over test images; for a rotary encoding,
it is the product of two equal vectors after rotation. For an embedding, the panel shows the cosine similarity between
the vectors of the middle token and of each other token.
"""

import math
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from artifact import Preprocess
from examples.digits.data import load_split
from examples.digits.table import load
from examples.digits.train import CHECKPOINTS, as_tensor, normalise
from models.attention import Attention
from models.encodings import Encoding

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
IMAGES = 64


def main() -> int:
    """Write one PNG for each variant with an encoding."""
    mpl.use("Agg")
    PICTURES.mkdir(exist_ok=True)
    for variant in sorted(file.stem for file in CHECKPOINTS.glob("*.safetensors")):
        if variant == "none":
            continue
        loaded = load(variant)
        with torch.no_grad():
            panels = of_embedding(loaded.network)
            if panels is None:
                panels = of_attention(loaded.network, loaded.preprocess)
        draw(panels, PICTURES / f"{variant}.png")
    return 0


def of_embedding(network: nn.Module) -> NDArray[np.float32] | None:
    """Return [1, rows, columns], or None if the network adds no embedding to tokens."""
    position = network.get_submodule("position")
    assert isinstance(position, Encoding)
    embedding = position.embedding()
    if embedding is None:
        return None
    similarity = nn.functional.cosine_similarity(embedding[_middle(len(embedding))], embedding)
    return _as_grid(similarity[None])


def of_attention(network: nn.Module, preprocess: Preprocess) -> NDArray[np.float32]:
    """Return [H, rows, columns] of the first attention."""
    attention = next(module for module in network.modules() if isinstance(module, Attention))
    encoding = attention.encoding
    bias = encoding.bias()
    if bias is not None:
        return _as_grid(bias[:, _middle(bias.shape[-1])])
    q, k = first_queries_and_keys(network, attention, preprocess)
    rotation = encoding.rotation()
    if rotation is not None:
        ones = rotation.turn(torch.ones_like(q[:1]))
        scores: Tensor | None = ones @ ones.transpose(-2, -1) / ones.shape[-1]
    else:
        scores = encoding.scores(q, k)
    assert scores is not None
    return _as_grid(scores.mean(dim=0)[:, _middle(scores.shape[-1])])


def first_queries_and_keys(network: nn.Module, attention: Attention, preprocess: Preprocess) -> tuple[Tensor, Tensor]:
    """Return scaled queries and keys, each [B, H, N, d], of test images in the first attention."""
    seen: list[Tensor] = []
    hook = attention.qkv.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    network(normalise(as_tensor(load_split()[1])[:IMAGES], preprocess))
    hook.remove()
    batch, num_tokens, _ = seen[0].shape
    q, k, _v = seen[0].view(batch, num_tokens, 3, attention.num_heads, attention.head_dim).permute(2, 0, 3, 1, 4)
    return q * attention.scale, k


def draw(panels: NDArray[np.float32], file: Path) -> None:
    """Draw [panels, rows, columns] side by side on one scale."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        1, len(panels), figsize=(1.6 * len(panels) + 0.8, 1.8), squeeze=False, layout="constrained"
    )
    limits = {"vmin": float(panels.min()), "vmax": float(panels.max())}
    for head, (axis, panel) in enumerate(zip(axes[0], panels, strict=True)):
        image = axis.imshow(panel, cmap="viridis", **limits)
        axis.set_axis_off()
        if len(panels) > 1:
            axis.set_title(f"head {head}", fontsize=8)
    bar = figure.colorbar(image, ax=list(axes[0]), shrink=0.8)
    bar.ax.tick_params(labelsize=7)
    figure.savefig(file, dpi=90, metadata={"Software": None})
    plt.close(figure)


def _middle(num_tokens: int) -> int:
    side = math.isqrt(num_tokens)
    return side // 2 * side + side // 2


def _as_grid(rows: Tensor) -> NDArray[np.float32]:
    """Map [panels, N] to [panels, side, side]."""
    side = math.isqrt(rows.shape[-1])
    return rows.reshape(-1, side, side).numpy()


if __name__ == "__main__":
    sys.exit(main())
