"""`python export/to_triton.py REPOSITORY --output DIR …`: write a Triton model repository from artifacts.

Exit status 0: success; 1: failure; 2: usage; 128 + n: terminated by signal n. After a failure or signal nothing is
written.
"""

import argparse
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from export.process.arguments import at_least_zero, names, path, positive
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
    parser.add_argument("repository", metavar="REPOSITORY", type=path, help="<model>/<variant>/<version>/ directories")
    parser.add_argument("--output", metavar="DIR", type=path, required=True, help="directory to create; must not exist")

    chosen = parser.add_argument_group("artifacts (default: all)")
    chosen.add_argument("--models", metavar="A,B", type=names, default=(), help="names of models")
    chosen.add_argument("--variants", metavar="A,B", type=names, default=(), help="names of variants")
    chosen.add_argument(
        "--versions", choices=["all", "newest"], default="all", help="versions of each variant; default: %(default)s"
    )

    runtime = parser.add_argument_group("networks")
    runtime.add_argument(
        "--backend",
        choices=["onnxruntime", "openvino", "tensorrt"],
        default="onnxruntime",
        help="default: %(default)s; tensorrt requires artifacts with an engine, built by to_tensorrt.py",
    )
    runtime.add_argument(
        "--accelerator",
        choices=["tensorrt", "openvino"],
        help="accelerator of ONNX Runtime: tensorrt on a GPU, which builds an engine at load; openvino on a CPU",
    )
    runtime.add_argument(
        "--device",
        choices=["auto", "cpu", "gpu"],
        help="default: that of the accelerator or backend, else auto: a GPU if Triton finds one",
    )
    runtime.add_argument(
        "--instances",
        metavar="N",
        type=positive,
        default=1,
        help="instances of a network per device; default: %(default)s",
    )

    batching = parser.add_argument_group("batching")
    batching.add_argument(
        "--batch-delay-ms",
        metavar="MS",
        type=at_least_zero,
        default=0.0,
        help="time that an incomplete batch waits for more images; default: 0, dispatches immediately",
    )
    batching.add_argument(
        "--max-queue",
        metavar="N",
        type=positive,
        default=256,
        help="maximum number of waiting requests of a network; default: %(default)s",
    )
    batching.add_argument(
        "--timeout-ms",
        metavar="MS",
        type=positive,
        default=30_000,
        help="maximum time that a request waits for its batch before it is rejected; default: %(default)s",
    )

    images = parser.add_argument_group("images")
    images.add_argument(
        "--resizer",
        choices=["simd", "pillow"],
        default="simd",
        help="simd (default) requires cykooz-resizer in Triton's Python; pillow is slower",
    )
    images.add_argument(
        "--max-pixels",
        metavar="N",
        type=positive,
        default=50_000_000,
        help="maximum number of pixels of an image; default: %(default)s",
    )
    images.add_argument(
        "--decoders", metavar="N", type=positive, default=1, help="number of decoding processes; default: %(default)s"
    )

    output = parser.add_argument_group("output")
    output.add_argument("--quiet", action="store_true", help="print errors only")
    output.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
