"""Exports for the other parts, several at a time: the digits model, and networks with random weights."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.gpu.part import ROOT, Emit, Row, Settings, name_of, needed

LOWER = ("swin-table", "rope", "irpe-product-contextual-k")
"""Digits variants that are also exported in each lower precision."""


def run(settings: Settings, emit: Emit) -> None:
    """Export missing artifacts, and emit a row for each command."""
    waiting = [(name, command) for name, path, command in _commands(settings) if not path.exists()]
    emit(Row("missing exports", {"seconds": 0.0, "found": len(waiting)}))
    if not waiting:
        return
    needed("torch", "install torch, or name the folder of a finished export with --artifacts")
    cores = os.cpu_count() or 1
    workers = min(max(1, cores // 2), len(waiting))
    threads = max(1, cores // workers)  # with a thread per core in each process, six exports took 200 s on 16 cores
    with ThreadPoolExecutor(workers) as pool:
        for row in pool.map(lambda item: _export(item[0], item[1], threads), waiting):
            emit(row)


def _commands(settings: Settings) -> list[tuple[str, Path, list[str]]]:
    """Return name, path of the artifact, and command of each export."""
    digits = ROOT / "examples/digits"
    to_onnx = str(ROOT / "export/to_onnx.py")
    fixed = ["--version", "1", "--quiet", "--output"]
    all_digits = [sys.executable, "-m", "examples.digits.export", "--output", str(settings.digits)]
    commands = [("digits", settings.digits / "digits/swin-table/1", all_digits)]
    for variant in LOWER:
        for precision in [name for name in settings.precisions if name != "fp32"]:
            name = f"{variant}-{precision}"
            weights = ["--checkpoint", str(digits / f"checkpoints/{variant}.safetensors"), "--precision", precision]
            command = [sys.executable, to_onnx, f"posbake:{digits}/configs/{variant}.json", *weights]
            command += ["--model", "digits", "--variant", name, *fixed, str(settings.digits)]
            commands.append((name, settings.digits / "digits" / name / "1", command))
    for source in settings.networks:
        for precision in settings.precisions:
            path = settings.network(source, precision)
            command = [sys.executable, to_onnx, source, "--random-weights", "0", "--precision", precision]
            command += ["--model", name_of(source), "--variant", precision, *fixed, str(path.parents[2])]
            commands.append((f"{name_of(source)} {precision}", path, command))
    return commands


def _export(name: str, command: list[str], threads: int) -> Row:
    start = time.monotonic()
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    seconds = round(time.monotonic() - start, 1)
    said = done.stderr.strip().splitlines()
    found = "exported" if done.returncode == 0 else (said[-1] if said else f"exit status {done.returncode}")
    return Row(name, {"seconds": seconds, "found": found}, ok=done.returncode == 0)
