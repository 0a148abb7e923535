"""`python -m benchmarks.dali_pixels --artifact DIR`: pixels and predictions of NVIDIA DALI compared with `imaging`.

Requires `nvidia-dali-cuda120` (400 MB, so not in the project's environment), ONNX Runtime, Pillow, cykooz-resizer,
pydantic and scikit-learn. DALI's CPU operators are compared; on a GPU, DALI decodes with nvJPEG instead of libjpeg.
"""

import argparse
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import nvidia.dali
import onnxruntime
import PIL
from numpy.typing import NDArray
from nvidia.dali import fn, math, pipeline_def, types
from PIL import Image
from sklearn.datasets import load_sample_images

from artifact import Preprocess, read_artifact
from examples.digits.data import load_split
from imaging.preprocess import Reading
from imaging.resizers import RESIZERS, find_resizer

Pixels = NDArray[np.uint8]
PHOTOS = Preprocess(resize=256, crop=(224, 224), interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3)


def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dali_pixels")
    parser.add_argument(
        "--artifact", type=Path, required=True, help="artifact of the digits model whose predictions are compared"
    )
    artifact = read_artifact(parser.parse_args().artifact)
    steps = artifact.manifest.preprocess
    _, test = load_split((40, 36))
    photos, digits = [jpeg(image) for image in load_sample_images().images], [jpeg(image) for image in test.images]
    print(f"{datetime.now(UTC).date()}, DALI {nvidia.dali.__version__}, Pillow {PIL.__version__}\n")
    print("| images | resizer of posbake | values that differ | by more than 1 | mean difference | largest |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for resizer in RESIZERS:
        print(row(f"2 photographs | {resizer}", by_dali(photos, PHOTOS), by_imaging(photos, PHOTOS, resizer)))
    shorter = by_dali(photos, PHOTOS, shorter=True)
    print(row("2 photographs, `resize_shorter` | simd", shorter, by_imaging(photos, PHOTOS, "simd")))
    inputs = {"DALI": by_dali(digits, steps)} | {name: by_imaging(digits, steps, name) for name in RESIZERS}
    for resizer in RESIZERS:
        print(row(f"360 digits | {resizer}", inputs["DALI"], inputs[resizer]))
    session = onnxruntime.InferenceSession(artifact.graph, providers=["CPUExecutionProvider"])
    logits = {name: session.run(None, {"image": pixels})[0] for name, pixels in inputs.items()}
    classes = {name: found.argmax(axis=1) for name, found in logits.items()}
    print(f"\n| {artifact.manifest.key.name}, pixels by | top-1 | classes of simd | largest difference of a logit |")
    print("| --- | ---: | ---: | ---: |")
    for name, found in classes.items():
        same, right = np.mean(found == classes["simd"]), np.mean(found == test.labels)
        print(f"| {name} | {right:.2%} | {same:.2%} | {np.abs(logits[name] - logits['simd']).max():.3f} |")
    return 0


def jpeg(image: Pixels) -> bytes:
    """Return a JPEG file of quality 90."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=90)
    return file.getvalue()


def by_imaging(files: Sequence[bytes], steps: Preprocess, resizer: str) -> Pixels:
    """Return [n, H, W, 3], preprocessed as in the service and in the Python model of a Triton repository."""
    reading = Reading(10**7, find_resizer(resizer))
    return np.stack([reading.pixels(reading.decode(file, [steps]), steps) for file in files])


def by_dali(files: Sequence[bytes], steps: Preprocess, *, shorter: bool = False) -> Pixels:
    """Return [n, H, W, 3] by the pipeline in docs/triton.md, or with `resize_shorter`; one image at a time."""
    height, width = steps.size
    by_side = isinstance(steps.resize, int)

    @pipeline_def(batch_size=1, num_threads=1, device_id=None, prefetch_queue_depth=1)  # type: ignore[untyped-decorator]
    def pixels() -> object:
        encoded = fn.external_source(name="image_bytes", device="cpu")
        images = fn.decoders.image(encoded, device="cpu", output_type=types.RGB)
        sides = fn.peek_image_shape(encoded)[:2]
        size = math.floor(steps.resize * sides / math.min(sides[0], sides[1])) if by_side else steps.resize
        how = {"resize_shorter": steps.resize} if shorter else {"size": size}
        resized = fn.resize(images, interp_type=types.INTERP_CUBIC, antialias=True, **how)
        return fn.crop(resized, crop=(height, width))

    pipeline = pixels()
    pipeline.build()
    rows = []
    for file in files:
        pipeline.feed_input("image_bytes", [np.frombuffer(file, np.uint8)])
        rows.append(np.asarray(pipeline.run()[0][0]))
    return np.stack(rows)


def row(name: str, dali: Pixels, ours: Pixels) -> str:
    """Return a row of the first table; differences are on a scale of 0 to 255."""
    off = np.abs(dali.astype(int) - ours)
    return f"| {name} | {(off > 0).mean():.1%} | {(off > 1).mean():.2%} | {off.mean():.3f} | {off.max()} |"


if __name__ == "__main__":
    raise SystemExit(main())
