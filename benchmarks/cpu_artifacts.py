"""Graphs that `benchmarks.cpu` compares: posbake's artifacts and stock exports, kept in a folder.

Weights are random and images synthetic, because time depends on neither. Existing exports are reused.
PyTorch is imported inside functions, because contenders without it import this module too.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PRECISIONS = ("fp32", "bf16", "int8")
STOCK = "stock"
_OPSET = 20


def artifact_folder(folder: Path, network: str, precision: str) -> Path:
    """Return the path of a timm network's artifact."""
    return folder / network / precision / "1"


def stock_graph(folder: Path, network: str) -> Path:
    """Return the path of a network's stock export."""
    return folder / STOCK / network / "model.onnx"


def prepare(folder: Path, network: str, target: str) -> None:
    """Export a timm network in each precision and by `torch.onnx.export`, unless the folder has the export.

    Args:
        folder: folder of artifacts, stock exports and calibration images.
        network: timm name.
        target: target of `to_onnx.py`.

    Raises:
        subprocess.CalledProcessError: an export failed, and printed why.
    """
    from benchmarks.precision import write_pictures

    pictures = folder / "pictures"
    if not pictures.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_pictures(pictures)
    for precision in PRECISIONS:
        if not artifact_folder(folder, network, precision).exists():
            _export(folder, network, precision, target, pictures)
    if not stock_graph(folder, network).exists():
        _export_stock(folder, network)


def image_size(folder: Path, network: str) -> tuple[int, int]:
    """Return (height, width) of a network's input."""
    height, width = _facts(folder, network)["image_size"]
    return height, width


def operations(folder: Path, network: str) -> int:
    """Return the operations of all matrix products for one image; a multiply-add counts as two."""
    return int(_facts(folder, network)["operations"])


def _facts(folder: Path, network: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((stock_graph(folder, network).parent / "facts.json").read_text("utf-8"))
    return found


def _export(folder: Path, network: str, precision: str, target: str, pictures: Path) -> None:
    command = [sys.executable, str(ROOT / "export/to_onnx.py"), f"timm:{network}", "--random-weights", "0", "--quiet"]
    command += ["--output", str(folder), "--precision", precision, "--target", target]
    command += ["--model", network, "--variant", precision, "--version", "1"]
    if precision != "fp32":  # the limits are for trained weights
        command += ["--calibration", str(pictures), "--min-cosine", "0", "--min-agreement", "0"]
    subprocess.run(command, check=True)  # noqa: S603 -- this project's command


def _export_stock(folder: Path, network: str) -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from artifact import Batch
    from benchmarks.stock import export_stock
    from benchmarks.zoo_networks import library_module
    from export.write.saving import save_graph

    module: Any = library_module(f"timm:{network}")
    size = module.default_cfg["input_size"][1:]
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        module(torch.zeros(1, 3, *size))
    graph = stock_graph(folder, network)
    graph.parent.mkdir(parents=True, exist_ok=True)
    facts = {"image_size": list(size), "operations": counter.get_total_flops()}
    (graph.parent / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
    save_graph(export_stock(module, torch.zeros(2, 3, *size), Batch(min=1, max=32), _OPSET), graph)
