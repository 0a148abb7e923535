"""`python -m examples.digits.train VARIANT …`: train variants of the digits model.

The metadata of a checkpoint has the accuracy on the test split, which the exporter copies to the manifest. Seeds are
fixed; training takes one to three minutes on two cores.
"""

import argparse
import json
import os
import platform
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypedDict

import torch
import torch.nn.functional as F
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import save_file
from torch import Tensor, nn

from artifact import Preprocess
from examples.digits.augment import augment
from examples.digits.data import DATASET, Split, load_split
from models import build_network
from models.encodings import Encoding
from models.sources.posbake import read_config

HERE = Path(__file__).parent
CONFIGS, CHECKPOINTS = HERE / "configs", HERE / "checkpoints"


@dataclass(frozen=True)
class Recipe:
    """Training recipe of a variant: AdamW, one-cycle learning rate, label smoothing, one augmentation."""

    epochs: int = 50
    batch_size: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    gradient_norm: float = 1.0
    seed: int = 0


class Training(TypedDict):
    """Training statistics in a checkpoint's metadata."""

    parameters: int
    seconds: float
    date: str
    machine: str
    recipe: dict[str, float]


def main() -> int:
    """Run the command line and return its exit status."""
    variants = sorted(file.stem for file in CONFIGS.glob("*.json"))
    parser = argparse.ArgumentParser(
        prog="python -m examples.digits.train", description="Train variants of the digits model."
    )
    parser.add_argument("variants", nargs="*", metavar="VARIANT", help=f"default: all of {', '.join(variants)}")
    chosen = parser.parse_args().variants or variants
    unknown = sorted(set(chosen) - set(variants))
    if unknown:
        parser.error(f"unknown variant {', '.join(unknown)}; known: {', '.join(variants)}")
    for variant in chosen:
        train_variant(variant, Recipe())
    return 0


def train_variant(variant: str, recipe: Recipe) -> None:
    """Train one variant and write its checkpoint."""
    torch.manual_seed(recipe.seed)
    torch.use_deterministic_algorithms(mode=True)
    config, _ = read_config(str(CONFIGS / f"{variant}.json"))
    network = build_network(config.network)
    train, test = load_split(config.preprocess.size)
    start = time.perf_counter()
    fit(network, train, config.preprocess, recipe, variant)
    seconds = time.perf_counter() - start
    right = int((predict(network, test, config.preprocess) == torch.from_numpy(test.labels)).sum())
    training = Training(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        seconds=round(seconds, 1),
        date=datetime.now(UTC).date().isoformat(),
        machine=machine(),
        recipe=asdict(recipe),
    )
    accuracy = {"dataset": DATASET, "top1": right / len(test.labels), "count": len(test.labels)}
    metadata = {"accuracy": json.dumps(accuracy), "training": json.dumps(training)}
    CHECKPOINTS.mkdir(exist_ok=True)
    save_file(network.state_dict(), CHECKPOINTS / f"{variant}.safetensors", metadata)
    print(f"{variant}: {right} of {len(test.labels)} correct, {seconds:.0f} s")


def fit(network: nn.Module, split: Split, preprocess: Preprocess, recipe: Recipe, title: str) -> None:
    """Train `network` on a split, and leave it in eval mode."""
    images, labels = as_tensor(split), torch.from_numpy(split.labels)
    generator = torch.Generator().manual_seed(recipe.seed)
    steps_per_epoch = len(images) // recipe.batch_size
    optimizer = torch.optim.AdamW(parameter_groups(network, recipe.weight_decay), lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=recipe.epochs * steps_per_epoch, pct_start=0.1
    )
    network.train()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("loss {task.fields[loss]:.3f}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as progress:
        task = progress.add_task(title, total=recipe.epochs, loss=float("nan"))
        for _ in range(recipe.epochs):
            order = torch.randperm(len(images), generator=generator)
            for chosen in order[: steps_per_epoch * recipe.batch_size].view(steps_per_epoch, -1):
                logits = network(normalise(augment(images[chosen], generator), preprocess))
                loss = F.cross_entropy(logits, labels[chosen], label_smoothing=recipe.label_smoothing)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(network.parameters(), recipe.gradient_norm)
                optimizer.step()
                schedule.step()
            progress.update(task, advance=1, loss=loss.item())
    network.eval()


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Apply weight decay to matrices only, not to biases, norms and encodings."""
    encodings = (module for module in network.modules() if isinstance(module, Encoding))
    positions = {id(parameter) for encoding in encodings for parameter in encoding.parameters()}
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for parameter in network.parameters():
        (kept if parameter.ndim < 2 or id(parameter) in positions else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]


def predict(network: nn.Module, split: Split, preprocess: Preprocess) -> Tensor:
    """Return the class of each image, int64 [count]."""
    with torch.no_grad():
        logits: Tensor = network(normalise(as_tensor(split), preprocess))
    return logits.argmax(dim=1)


def as_tensor(split: Split) -> Tensor:
    """Return the images as float32 [count, 3, height, width], 0 … 1."""
    return (torch.from_numpy(split.images) / 255).permute(0, 3, 1, 2).contiguous()


def normalise(images: Tensor, preprocess: Preprocess) -> Tensor:
    """Normalise images [B, 3, height, width] from 0 … 1 to the network's input."""
    mean, std = torch.tensor(preprocess.mean), torch.tensor(preprocess.std)
    return (images - mean[:, None, None]) / std[:, None, None]


def machine() -> str:
    """Return the processor's name and the number of usable cores."""
    name = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        models = [
            line.split(":", 1)[1].strip()
            for line in information.read_text().splitlines()
            if line.startswith("model name")
        ]
        name = models[0] if models else name
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} cores of {name}"


if __name__ == "__main__":
    sys.exit(main())
