"""`python export/to_triton.py REPOSITORY --output DIR …`: write a Triton model repository from artifacts.

Exit status 0: success; 1: failure; 2: usage; 128 + n: terminated by signal n. After a failure or signal nothing is
written.
"""

import argparse
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from export.process.arguments import Options, at_least_zero, names, path, positive
from export.process.command import Command, run

if TYPE_CHECKING:
    from export.triton_repository.request import WrittenRepository


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    return run(_parser().parse_args(arguments), _command)


def _command(options: argparse.Namespace) -> "Command[WrittenRepository]":
    from export.triton_repository.exporting import export_triton  # imports Pillow and pydantic
    from export.triton_repository.request import TritonRequest
    from export.triton_repository.terminal import print_written

    settings = {name: value for name, value in vars(options).items() if name not in {"json", "quiet"}}
    return Command(
        lambda progress: export_triton(TritonRequest(**settings), progress.step),
        lambda written: {**asdict(written), "path": str(written.path)},
        print_written,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="to_triton.py",
        description="Write a model repository for NVIDIA Triton Inference Server: a network <model>.<variant> for each "
        "variant, and an ensemble <model>.<variant>.image that takes encoded images.",
        epilog="Exit status: 0 success; 1 failure, and nothing was written; 2 usage.",
        allow_abbrev=False,
    )
    whole = Options(parser)
    whole.add("repository", path, "<model>/<variant>/<version>/ directories", "REPOSITORY")
    whole.add("--output", path, "directory to create; must not exist", "DIR", required=True)

    chosen = whole.group("artifacts (default: all)")
    chosen.add("--models", names, "names of models", "A,B", default=())
    chosen.add("--variants", names, "names of variants", "A,B", default=())
    chosen.add("--versions", ["all", "newest"], "versions of each variant; default: %(default)s", default="all")

    runtime = whole.group("networks")
    backend = "default: %(default)s; tensorrt requires artifacts with an engine, built by to_tensorrt.py"
    runtime.add("--backend", ["onnxruntime", "openvino", "tensorrt"], backend, default="onnxruntime")
    accelerator = "accelerator of ONNX Runtime: tensorrt on a GPU, which builds an engine at load; openvino on a CPU"
    runtime.add("--accelerator", ["tensorrt", "openvino"], accelerator)
    device = "default: that of the accelerator or backend, else auto: a GPU if Triton finds one"
    runtime.add("--device", ["auto", "cpu", "gpu"], device)
    runtime.add("--instances", positive, "instances of a network per device; default: %(default)s", "N", default=1)

    batching = whole.group("batching")
    delay = "time that an incomplete batch waits for more images; default: 0, dispatches immediately"
    batching.add("--batch-delay-ms", at_least_zero, delay, "MS", default=0.0)
    queue = "maximum number of waiting requests of a network; default: %(default)s"
    batching.add("--max-queue", positive, queue, "N", default=256)
    timeout = "maximum time that a request waits for its batch, before it is rejected; default: %(default)s"
    batching.add("--timeout-ms", positive, timeout, "MS", default=30_000)

    images = whole.group("images")
    resizer = "simd (default) requires cykooz-resizer in Triton's Python; pillow is slower"
    images.add("--resizer", ["simd", "pillow"], resizer, default="simd")
    pixels = "maximum number of pixels of an image; default: %(default)s"
    images.add("--max-pixels", positive, pixels, "N", default=50_000_000)
    images.add("--decoders", positive, "number of decoding processes; default: %(default)s", "N", default=1)
    whole.group("output").add_output()
    return parser


if __name__ == "__main__":
    sys.exit(main())
