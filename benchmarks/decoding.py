"""`python -m benchmarks.decoding`: decoding on threads with time limits compared with processes that can be killed.

Basis of the choice of threads in service/scheduling. The first table decodes and resizes real JPEGs as in the service.
The second simulates more cores than the machine has: decoders sleep for the time that a decode runs without the
interpreter lock, then for the time that it holds the lock, under a lock shared by the decoders of a process. The
cost of data transfer is real in both. Runs are interleaved; figures are medians over the rounds.
"""

import argparse
import io
import os
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import numpy as np
from PIL import Image

from benchmarks.decode_processes import Decode, DecodeProcess, Nothing, Photograph, Sleeping
from benchmarks.serving_inputs import SIZE, blurred_noise
from benchmarks.serving_processes import cpu_seconds
from imaging.resizers import find_resizer

ROOM = 16 * 2**20
SIMULATED = ((4.8, 0.2), (4.5, 0.5), (4.0, 1.0))
FILES = {"500×375": SIZE, "4000×3000": (4000, 3000)}
RELEASING = ("decode", "resize_pil")
"""Functions of Pillow's decoder and of the resizer that release the interpreter lock."""


@dataclass
class Found:
    """Results of one method, over all rounds."""

    rates: list[float] = field(default_factory=list)
    medians: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def cells(self) -> str:
        """Return throughput (images/s), p50 (ms) and CPU time (ms per image) as table cells."""
        rate, median, cpu = map(statistics.median, (self.rates, self.medians, self.cpu))
        return f"{rate:.0f} | {median:.2f} | {cpu:.2f}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decoding", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of each run")
    options = parser.parse_args()
    from examples.digits.train import machine  # imports torch, which child processes do not need

    print(f"{datetime.now(UTC).date()}, {machine()}, medians of {options.rounds} rounds of {options.seconds:g} s\n")
    files = {name: jpeg(size) for name, size in FILES.items()}
    photograph = Photograph(find_resizer("auto"))
    head = "threads: images/s | p50, ms | CPU, ms | processes: images/s | p50, ms | CPU, ms |\n| --- | ---: |"
    print(f"| file | workers | {head}{' ---: |' * 6}")
    for name, file in files.items():
        for workers in (1, 2):
            cells = compare(photograph, file, workers, options.rounds, options.seconds)
            print(f"| {name}, {len(file) // 1024} KiB | {workers} | {cells} |", flush=True)
    print(f"\n| simulated, ms without + with the lock | workers | {head}{' ---: |' * 6}")
    for free, locked in SIMULATED:
        for workers in (1, 2, 16):
            decoder = Sleeping(free / 1000, locked / 1000)
            cells = compare(decoder, files["500×375"], workers, options.rounds, options.seconds)
            print(f"| {free:g} + {locked:g} | {workers} | {cells} |", flush=True)
    print("\n| | " + " | ".join(files) + " |\n| --- | ---: | ---: |")
    row(
        "CPU time of a decode with the interpreter lock held, at most, ms",
        [lock_held(photograph, file) for file in files.values()],
    )
    handed = [handing_over(file) for file in files.values()]
    row("transfer of file and tensor, ms", [wall for wall, _ in handed])
    row("CPU time of it in the calling process, ms", [cpu for _, cpu in handed])
    kept = [replacing(photograph, file) for file in files.values()]
    row("kill and restart of a process, ms", [wall for wall, _ in kept])
    row("private memory of a process after a decode, MiB", [memory / 2**20 for _, memory in kept])


def row(name: str, values: Sequence[float]) -> None:
    """Print a row of the last table."""
    print(f"| {name} | {' | '.join(f'{value:.2f}' for value in values)} |", flush=True)


def jpeg(size: tuple[int, int]) -> bytes:
    """Return a JPEG file of this (width, height)."""
    buffer = io.BytesIO()
    Image.fromarray(blurred_noise(np.random.default_rng(0), size)).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def compare(decoder: Decode, file: bytes, workers: int, rounds: int, seconds: float) -> str:
    """Return the cells of threads and processes."""
    threads, processes = Found(), Found()
    with ExitStack() as stack:
        ours = [DecodeProcess(decoder, ROOM) for _ in range(workers)]
        for process in ours:
            stack.callback(process.kill)
        for _ in range(rounds):
            measure(threads, [decoder] * workers, file, seconds)
            measure(processes, ours, file, seconds)
    return f"{threads.cells()} | {processes.cells()}"


def measure(found: Found, decoders: Sequence[Decode], file: bytes, seconds: float) -> None:
    """Add a round in which one thread per decoder calls it repeatedly."""
    times: list[float] = []
    before, start = cpu_seconds(os.getpid()), time.perf_counter()

    def work(decoder: Decode) -> None:
        while (begun := time.perf_counter()) - start < seconds:
            decoder(file)
            times.append(time.perf_counter() - begun)

    threads = [threading.Thread(target=work, args=(decoder,)) for decoder in decoders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - start
    found.rates.append(len(times) / elapsed)
    found.medians.append(1000 * statistics.median(times))
    found.cpu.append(1000 * (cpu_seconds(os.getpid()) - before) / len(times))


def lock_held(decoder: Decode, file: bytes, times: int = 30) -> float:
    """Return a decode's CPU time in ms outside the functions that release the interpreter lock, profiling included."""
    held = []
    for _ in range(times):
        released, began = 0.0, 0.0

        def profile(_frame: FrameType, event: str, called: object) -> None:
            nonlocal released, began
            if getattr(called, "__name__", "") not in RELEASING:
                return
            if event == "c_call":
                began = time.thread_time()
            elif event == "c_return":
                released += time.thread_time() - began

        start = time.thread_time()
        sys.setprofile(profile)
        try:
            decoder(file)
        finally:
            sys.setprofile(None)
        held.append(time.thread_time() - start - released)
    return 1000 * statistics.median(held)


def handing_over(file: bytes, times: int = 500) -> tuple[float, float]:
    """Return the ms that transfer to a process adds to a decode, and its CPU time in the calling process in ms."""
    process = DecodeProcess(Nothing(), ROOM)
    try:
        walls, cpu = [], time.thread_time()
        for _ in range(times):
            start = time.perf_counter()
            process(file)
            walls.append(time.perf_counter() - start)
        return 1000 * statistics.median(walls), 1000 * (time.thread_time() - cpu) / times
    finally:
        process.kill()


def replacing(decoder: Decode, file: bytes, times: int = 5) -> tuple[float, int]:
    """Return the ms to kill and replace a process, and its private bytes after a decode."""
    walls = []
    process = DecodeProcess(decoder, ROOM)
    for _ in range(times):
        process(file)
        held = private_bytes(process.pid)
        start = time.perf_counter()
        process.kill()
        process = DecodeProcess(decoder, ROOM)
        walls.append(time.perf_counter() - start)
    process.kill()
    return 1000 * statistics.median(walls), held


def private_bytes(pid: int) -> int:
    """Return the private memory of a process in bytes (smaps_rollup in proc(5))."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Private_"))


if __name__ == "__main__":
    main()
