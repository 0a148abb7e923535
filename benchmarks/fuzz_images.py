"""`python -m benchmarks.fuzz_images [N] [SEED]`: decode mutated image files of every format.

Each file must be decoded or rejected as invalid; any other exception is printed with the number of its mutation, from
which `mutated` reproduces the file. Half of the PNGs get correct checksums, since few would pass otherwise.
"""

import random
import re
import struct
import sys
import time
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from imaging.decode import decode, pillow_pixel_limit
from imaging.errors import NotAnImageError, TooManyPixelsError
from tests.imaging.corpus.bmp import bmp_kinds
from tests.imaging.corpus.gif import gif_kinds
from tests.imaging.corpus.jpeg import jpeg_kinds
from tests.imaging.corpus.png import png_kinds
from tests.imaging.corpus.tiff import tiff_kinds
from tests.imaging.corpus.webp_avif import avif_kinds, webp_kinds

MAX_PIXELS = 1_000_000
MAX_BYTES = 20_000
"""Size limit of the files to mutate; larger ones are mostly metadata."""
INTERESTING = (0, 1, 2, 7, 8, 16, 127, 128, 254, 255)
WRITERS = (jpeg_kinds, png_kinds, tiff_kinds, bmp_kinds, gif_kinds, webp_kinds, avif_kinds)


@dataclass
class Outcome:
    """Results of the files.

    Attributes:
        counts: files decoded, refused, and too large.
        others: tracebacks of other exceptions, by number of the mutation.
        slowest: CPU seconds and number of the slowest mutation.
    """

    counts: Counter[str] = field(default_factory=Counter)
    others: dict[int, str] = field(default_factory=dict)
    slowest: tuple[float, int] = (0.0, 0)


def seeds() -> list[list[bytes]]:
    """Return valid files, one list per format."""
    made = [[kind.make() for kind in writer()] for writer in WRITERS]
    return [[data for data in files if 0 < len(data) <= MAX_BYTES] for files in made]


def mutated(files: Sequence[Sequence[bytes]], seed: int, number: int) -> bytes:
    """Return mutation `number`; formats alternate."""
    chance = random.Random(f"{seed} {number}")  # noqa: S311
    data = bytearray(chance.choice(files[number % len(files)]))
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        chance.choice(MUTATIONS)(data, chance)
        if not data:
            break
    if data.startswith(b"\x89PNG") and chance.random() < 0.5:
        _correct_checksums(data)
    return bytes(data)


def _flip(data: bytearray, chance: random.Random) -> None:
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _set(data: bytearray, chance: random.Random) -> None:
    data[chance.randrange(len(data))] = chance.choice(INTERESTING)


def _set_header(data: bytearray, chance: random.Random) -> None:
    data[chance.randrange(min(len(data), 64))] = chance.randrange(256)


def _set_number(data: bytearray, chance: random.Random) -> None:
    kind = chance.choice(("<H", ">H", "<I", ">I"))
    size = struct.calcsize(kind)
    if len(data) > size:
        at = chance.randrange(len(data) - size)
        struct.pack_into(
            kind, data, at, chance.choice((0, 1, 255, 256 ** (size // 2), 256**size - 1, chance.randrange(256**size)))
        )


def _cut(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data)) :]


def _delete(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    del data[at : at + chance.randrange(1, 32)]


def _repeat(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    data[at:at] = data[at : at + chance.randrange(1, 64)] * chance.choice((1, 2, 20))


def _insert(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    data[at:at] = chance.randbytes(chance.randrange(1, 16))


MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    *(_flip, _flip, _set, _set_header, _set_header, _set_number, _set_number),
    *(_cut, _delete, _repeat, _insert),
)


def _correct_checksums(data: bytearray) -> None:
    position = 8
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            return
        struct.pack_into(">I", data, end, zlib.crc32(data[position + 4 : end]))
        position = end + 4


def fuzz(count: int, seed: int) -> Outcome:
    """Decode `count` mutated files."""
    files, outcome = seeds(), Outcome()
    for number in range(count):
        data = mutated(files, seed, number)
        start = time.process_time()
        try:
            decode(data, MAX_PIXELS)
        except NotAnImageError:
            outcome.counts["refused"] += 1
        except TooManyPixelsError:
            outcome.counts["too large"] += 1
        except Exception:  # noqa: BLE001  # the purpose of the search
            outcome.others[number] = traceback.format_exc()
        else:
            outcome.counts["decoded"] += 1
        outcome.slowest = max(outcome.slowest, (time.process_time() - start, number))
    return outcome


def resident() -> float:
    """Return the resident memory of this process in MB."""
    return int(re.findall(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[0]) / 1000


def main() -> None:
    """Print a table."""
    from examples.digits.train import machine  # imports torch, which `fuzz` does not need

    count, seed = (
        int(sys.argv[place]) if len(sys.argv) > place else default for place, default in ((1, 500_000), (2, 0))
    )
    warnings.simplefilter("error")
    with pillow_pixel_limit(MAX_PIXELS):
        fuzz(count // 10, seed + 1)
        before, start = resident(), time.process_time()
        outcome = fuzz(count, seed)
    seconds = time.process_time() - start
    print(f"{datetime.now(UTC).date()}, {machine()}, {count:,} files, {seconds:.0f} s of CPU\n")
    print("| decoded | refused | too large | other exceptions | slowest, CPU s | RSS, MB |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    counts, (slowest, number) = outcome.counts, outcome.slowest
    print(
        f"| {counts['decoded']:,} | {counts['refused']:,} | {counts['too large']:,} | {len(outcome.others)} "
        f"| {slowest:.2f} (number {number}) | {before:.0f} → {resident():.0f} |"
    )
    for number, text in outcome.others.items():
        print(f"\nnumber {number}:\n{text}")


if __name__ == "__main__":
    main()
