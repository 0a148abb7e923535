"""`python export/to_onnx.py SOURCE --output DIR …`: export a network to an artifact.

Exit status 0: done; 1: failed, and the repository is as it was; 2: usage.
"""

import argparse
import json
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from export.pipeline import Exported, Request

DONE, FAILED, INTERRUPTED = 0, 1, 130


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    options = _parser().parse_args(arguments)
    # These bring torch, which takes seconds: not before the usage is known to be right.
    from rich.console import Console

    from artifact import ArtifactError
    from export.errors import ExportError
    from export.pipeline import export_onnx
    from export.report import print_report
    from models.sources import SourceError

    progress, console = Console(stderr=True), Console()

    def show(step: str) -> AbstractContextManager[object]:
        return progress.status(f"{step} …") if progress.is_terminal and not options.quiet else nullcontext()

    try:
        exported = export_onnx(_request(options), show)
    except (SourceError, ExportError, ArtifactError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return FAILED
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)  # noqa: T201
        return INTERRUPTED
    if options.json:
        print(_json(exported))  # noqa: T201
    elif not options.quiet:
        print_report(exported, console)
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="to_onnx.py",
        description="Bake a vision transformer's position work and export it to ONNX.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="posbake:<name or config file>, timm:<name>, torchvision:<name>, transformers:<id or local folder>, "
        "cream:<published name> or cream:custom",
    )
    parser.add_argument("--output", metavar="DIR", type=Path, required=True, help="repository to write to")

    parser.add_argument("--config", metavar="FILE", type=Path, help="sizes of cream:custom, as JSON")

    weights = parser.add_argument_group("weights (one is needed)").add_mutually_exclusive_group()
    weights.add_argument("--checkpoint", metavar="FILE", type=Path, help=".safetensors, or .pth with tensors only")
    weights.add_argument("--pretrained", action="store_true", help="the weights that the source's library publishes")
    weights.add_argument("--random-weights", metavar="SEED", type=int, help="for trying out and for measuring")

    shape = parser.add_argument_group("shape")
    shape.add_argument("--image-size", metavar="N|HxW", type=_size, help="pixels; default: the configuration's")
    shape.add_argument("--window-size", metavar="N", type=_positive, help="tokens; default: the configuration's")
    shape.add_argument("--batch", metavar="MIN:MAX", type=_batch, default=(1, 32), help="default: 1:32")

    graph = parser.add_argument_group("graph")
    graph.add_argument(
        "--input",
        choices=["uint8", "float32"],
        default="uint8",
        help="uint8 (default): NHWC pixels, normalised inside the graph; float32: NCHW, already normalised",
    )
    graph.add_argument("--opset", metavar="N", type=int, choices=range(20, 24), default=20, help="20 (default) to 23")

    identity = parser.add_argument_group("identity")
    identity.add_argument("--model", metavar="NAME", help="the task; default: the source's")
    identity.add_argument("--variant", metavar="NAME", help="default: the source's, else the encoding's")
    identity.add_argument("--version", metavar="N", type=_positive, help="default: the next one")
    identity.add_argument("--labels", metavar="FILE", type=Path, help="one label a line; default: the source's")

    output = parser.add_argument_group("output")
    output.add_argument("--quiet", action="store_true", help="print errors only")
    output.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def _request(options: argparse.Namespace) -> "Request":
    from artifact import Batch
    from export.errors import ExportError
    from export.pipeline import Request
    from models.sources import Checkpoint, Overrides, Pretrained, RandomWeights, Weights

    weights: Weights
    if options.checkpoint is not None:
        weights = Checkpoint(options.checkpoint)
    elif options.random_weights is not None:
        weights = RandomWeights(options.random_weights)
    elif options.pretrained:
        weights = Pretrained()
    else:
        raise ExportError(
            "no weights given: name a file with --checkpoint FILE, take the library's with --pretrained, "
            "or draw some with --random-weights SEED"
        )
    smallest, largest = options.batch
    return Request(
        source=options.source,
        weights=weights,
        output=options.output,
        overrides=Overrides(options.image_size, options.window_size, options.config),
        takes=options.input,
        batch=Batch(min=smallest, max=largest),
        opset=options.opset,
        model=options.model,
        variant=options.variant,
        version=options.version,
        labels=options.labels,
    )


def _json(exported: "Exported") -> str:
    return json.dumps(
        {
            "path": str(exported.path),
            "seconds": {step: round(seconds, 3) for step, seconds in exported.seconds.items()},
            "manifest": exported.manifest.model_dump(mode="json", exclude_none=True),
        },
        indent=2,
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return number


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    try:
        return _positive(height), _positive(width or height)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither N nor HxW, in pixels") from None


def _batch(text: str) -> tuple[int, int]:
    smallest, _, largest = text.partition(":")
    try:
        sizes = _positive(smallest), _positive(largest or smallest)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither N nor MIN:MAX") from None
    if sizes[0] > sizes[1]:
        raise argparse.ArgumentTypeError(f"{text!r}: MIN is above MAX")
    return sizes


if __name__ == "__main__":
    sys.exit(main())
