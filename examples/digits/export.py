"""`python -m examples.digits.export`: export every variant of the digits model that is missing or out of date.

All variants are exported in one process, because importing torch takes longer than one export. A variant is out of
date if its configuration, its checkpoint, or any module of the exporter is newer than its manifest.
"""

import argparse
import gc
import shutil
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import export.pipeline  # noqa: F401 -- imports torch
from export.process.command import DONE
from export.to_onnx import main as to_onnx

DIGITS = Path(__file__).parent
EXPORTER = ("artifact", "export", "imaging", "models")
SAMPLES = DIGITS / "samples"
ABOUT = (
    "Trained on 1,437 scans of single handwritten digits, 8×8 pixels each: dark, thick strokes that fill a white "
    "square. The training data has no thin strokes, white on black, shadows or several digits: prepare such photos. "
    "There is no class for other images, so they are classified as a digit too."
)
"""Note on these models, shown on the page."""

VARIANTS = sorted(file.stem for file in (DIGITS / "configs").glob("*.json"))


def main(arguments: list[str] | None = None) -> int:
    """Export outdated variants; return 0, or the exit status of the first failed export."""
    parser = argparse.ArgumentParser(prog="python -m examples.digits.export")
    parser.add_argument("--output", type=Path, default=Path("artifacts"), help="repository to write to")
    repository = parser.parse_args(arguments).output
    outdated = [variant for variant in VARIANTS if is_outdated(variant, repository)]
    columns = (TextColumn("exporting digits"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.description}"), console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=len(outdated), visible=bool(outdated))
        for variant in outdated:
            progress.update(task, description=variant)
            if (status := export_variant(variant, repository)) != DONE:
                return status
            progress.update(task, description="", advance=1)
    return DONE


def is_outdated(variant: str, repository: Path) -> bool:
    """Return whether a variant is missing or out of date."""
    manifest = _version(variant, repository) / "manifest.json"
    if not manifest.exists():
        return True
    modules = (file for folder in EXPORTER for file in (DIGITS.parents[1] / folder).rglob("*.py"))
    inputs = (*_inputs(variant), *SAMPLES.glob("*"), Path(__file__))
    return max(file.stat().st_mtime for file in (*modules, *inputs)) > manifest.stat().st_mtime


def export_variant(variant: str, repository: Path) -> int:
    """Export a variant as version 1, replacing an older export; return the exit status of to_onnx.py."""
    version = _version(variant, repository)
    if version.exists():
        shutil.rmtree(version)  # exports do not overwrite versions
    config, checkpoint = _inputs(variant)
    options = ["--checkpoint", str(checkpoint), "--version", "1", "--output", str(repository), "--quiet"]
    options += ["--samples", str(SAMPLES), "--about", ABOUT, "--preparation", "ink"]
    return to_onnx([f"posbake:{config}", *options])


def _version(variant: str, repository: Path) -> Path:
    return repository / "digits" / variant / "1"


def _inputs(variant: str) -> tuple[Path, Path]:
    """Return a variant's configuration and checkpoint."""
    return DIGITS / "configs" / f"{variant}.json", DIGITS / "checkpoints" / f"{variant}.safetensors"


if __name__ == "__main__":
    # Garbage collection of torch's modules and traced graphs takes a quarter of the time and frees nothing.
    gc.set_threshold(100_000, 50, 100)
    gc.collect()
    gc.freeze()
    sys.exit(main())
