"""Networks and images of `benchmarks.serving`: small and Swin-T with random weights, and JPEGs of 500×375 pixels."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
IMAGES = 8
SIZE = (500, 375)
PREPROCESS = {
    "resize": 248,
    "crop": [224, 224],
    "interpolation": "bicubic",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}
"""Preprocessing of every network; the other contenders have it in their code."""

SMALL = {
    "architecture": "vit",
    "image_size": [224, 224],
    "patch_size": 16,
    "num_classes": 1000,
    "width": 192,
    "depth": 1,
    "num_heads": 3,
    "pool": "cls",
    "encodings": {"learned": {}},
}


@dataclass(frozen=True)
class Network:
    """Network to serve, and its default numbers of clients and contenders."""

    config: dict[str, Any]
    clients: tuple[int, ...]
    seconds: int
    contenders: tuple[str, ...]


NETWORKS = {
    "small": Network(SMALL, (1, 8, 32, 128), 5, ("posbake", "fastapi", "litserve")),
    "swin_tiny": Network(
        json.loads((ROOT / "models/configs/swin_tiny_patch4_window7_224.json").read_text(encoding="utf-8"))["network"],
        (8, 32),
        20,  # 32 clients wait seconds for a response
        ("posbake",),
    ),
}


def make_images(folder: Path) -> None:
    """Write 0.jpg, 1.jpg, …: blurred noise with grain, about as compressible as photographs."""
    rng = np.random.default_rng(0)
    for place in range(IMAGES):
        Image.fromarray(blurred_noise(rng, SIZE)).save(folder / f"{place}.jpg", quality=80)


def blurred_noise(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return uint8 [height, width, 3] for this (width, height)."""
    blobs = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    grain = rng.integers(-12, 13, (size[1], size[0], 1))
    return (np.asarray(blobs).astype(np.int64) + grain).clip(0, 255).astype(np.uint8)


def export(network: Network, folder: Path, kinds: Sequence[str], checkout: Path = ROOT) -> Path:
    """Return a repository with the network as model `benchmark`, with one variant per kind of input.

    Args:
        network: network to export.
        folder: parent folder of the repository.
        kinds: kinds of input, uint8 or float32.
        checkout: checkout whose exporter is used; services read artifacts of older checkouts, not of newer ones.
    """
    config = folder / "network.json"
    config.write_text(json.dumps({"preprocess": PREPROCESS, "network": network.config}), encoding="utf-8")
    repository = folder / "repository"
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    for kind in kinds:
        command = [sys.executable, "export/to_onnx.py", f"posbake:{config}", "--random-weights", "0", "--quiet"]
        names = ["--model", "benchmark", "--variant", kind, "--input", kind, "--version", "1"]
        subprocess.run([*command, *names, "--output", str(repository)], check=True, cwd=checkout, env=environment)  # noqa: S603
    return repository
