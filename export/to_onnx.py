"""`python export/to_onnx.py SOURCE --output DIR …`: export a network to an artifact.

Exit status 0: success; 1: failure; 2: usage; 128 + n: terminated by signal n (Ctrl-C: 2). After a failure or signal the
repository is unchanged.
"""

import argparse
import gc
import sys
from typing import TYPE_CHECKING

from export.process.arguments import batch, option, path, positive, share, size, text
from export.process.command import Command, run

if TYPE_CHECKING:
    from export.request import Exported, ExportRequest

LONGEST_ABOUT = 1000
"""Maximum number of characters; see `Text` of `artifact.parts.values`."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    return run(_parser().parse_args(arguments), _command)


def _command(options: argparse.Namespace) -> "Command[Exported]":
    from export.pipeline import export_onnx  # imports torch
    from export.report.terminal import print_report
    from models.sources import SourceError

    return Command(
        lambda progress: export_onnx(_request(options), progress.step), _document, print_report, (SourceError,)
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="to_onnx.py",
        description="Export a vision transformer to ONNX with its position encodings as constants.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        type=text,
        help="posbake:<name or config file>, timm:<name>, torchvision:<name>, transformers:<id or local folder>, "
        "cream:<published name>, cream:custom; for your own network python:<path/file.py>:<function> or "
        "python:<package.module>:<function>",
    )
    parser.add_argument("--output", metavar="DIR", type=path, required=True, help="repository to write to")

    parser.add_argument("--config", metavar="FILE", type=path, help="configuration of cream:custom, as JSON")

    weights = parser.add_argument_group("weights (one is required)").add_mutually_exclusive_group()
    weights.add_argument(
        "--checkpoint",
        metavar="FILE",
        type=path,
        help="safetensors or torch.save file with any suffix, index of shards, or folder with one of these",
    )
    weights.add_argument(
        "--pretrained",
        action="store_true",
        help="weights published by the library, or returned by the function of python:",
    )
    weights.add_argument(
        "--random-weights", metavar="SEED", type=int, help="seed of random weights, for tests and measurements"
    )
    parser.add_argument(
        "--weights-key",
        metavar="NAME",
        help="key of the weights in --checkpoint: a container (state_dict_ema) or a prefix of keys, separated by dots; "
        "default: averages over training steps, then raw weights",
    )

    shape = parser.add_argument_group("shape")
    shape.add_argument("--image-size", metavar="N|HxW", type=size, help="pixels; default: the configuration's")
    shape.add_argument("--window-size", metavar="N", type=positive, help="tokens; default: the configuration's")
    shape.add_argument(
        "--trained-image-size",
        metavar="N|HxW",
        type=size,
        help="image size of training for --checkpoint, if not the name's default; --image-size changes it afterwards",
    )
    shape.add_argument(
        "--trained-window-size",
        metavar="N",
        type=positive,
        help="window size of training for --checkpoint; --window-size changes it afterwards",
    )
    shape.add_argument(
        "--model-arg",
        metavar="KEY=VALUE",
        type=option,
        action="append",
        default=[],
        help="option of the library's constructor in training, such as global_pool=avg; can be repeated; VALUE is JSON "
        "or a word",
    )
    shape.add_argument("--batch", metavar="MIN:MAX", type=batch, default=(1, 32), help="default: 1:32")

    graph = parser.add_argument_group("graph")
    graph.add_argument(
        "--input",
        choices=["uint8", "float32"],
        default="uint8",
        help="uint8 (default): NHWC pixels, normalised inside the graph; float32: NCHW, already normalised",
    )
    graph.add_argument("--opset", metavar="N", type=int, choices=range(20, 24), default=20, help="20 (default) to 23")

    numbers = parser.add_argument_group("numbers")
    numbers.add_argument(
        "--precision",
        choices=["fp32", "fp16", "bf16", "int8"],
        default="fp32",
        help="fp32 (default); fp16, bf16: strongly typed graph; int8: Q/DQ around products with weights, needs "
        "--calibration",
    )
    numbers.add_argument(
        "--calibration",
        metavar="DIR",
        type=path,
        help="directory with at least 16 images, also in subdirectories, in any format of the service; at most 512 are "
        "used, evenly spaced. They calibrate int8, and fp16, bf16 and int8 are compared on them; four are stored in "
        "the artifact's golden.npz",
    )
    numbers.add_argument(
        "--min-cosine",
        metavar="X",
        type=share,
        help="fail if the mean cosine between the logits and the network's is below; "
        "default: 0.9999 for fp16, 0.999 for bf16, 0.99 for int8",
    )
    numbers.add_argument(
        "--min-agreement",
        metavar="X",
        type=share,
        help="fail if the top-1 agreement with the network is below; default: 0.97 for int8, else 0",
    )

    identity = parser.add_argument_group("identity")
    identity.add_argument("--model", metavar="NAME", type=text, help="name of the task; default: the source's")
    identity.add_argument(
        "--variant",
        metavar="NAME",
        type=text,
        help="name of the variant; default: the source's, else the encoding's, with -fp16, -bf16 or -int8",
    )
    identity.add_argument("--version", metavar="N", type=positive, help="version; default: the next one")
    identity.add_argument("--labels", metavar="FILE", type=path, help="one label per line; default: the source's")

    identity.add_argument(
        "--task",
        choices=["single-label", "multi-label", "regression"],
        help="kind of outputs: logits of exclusive or independent classes, or values; default: the source's "
        "problem_type, else multi-label after a final sigmoid, regression for one output, else single-label",
    )

    output = parser.add_argument_group("output")
    output.add_argument(
        "--target",
        choices=["portable", "onnxruntime", "openvino", "tensorrt"],
        default="portable",
        help="runtime of the graph; portable (default) runs everywhere, and no other form was measurably faster in "
        "onnxruntime or openvino; tensorrt fails if TensorRT's support table excludes an operator",
    )
    output.add_argument("--report", action="store_true", help="write report.html, a page with plots, beside the graph")
    output.add_argument(
        "--samples",
        metavar="DIR",
        type=path,
        help="sample images (PNG, JPEG, WebP) to store in the artifact, for the service's page",
    )
    output.add_argument(
        "--about", metavar="TEXT", type=text, help="training data and unsuitable uses, shown on the service's page"
    )
    output.add_argument(
        "--preparation",
        choices=["ink"],
        help="preparation of photos on the service's page; ink: even out the paper, crop to a sign, darken it",
    )
    output.add_argument("--quiet", action="store_true", help="print errors only")
    output.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def _request(options: argparse.Namespace) -> "ExportRequest":
    from artifact import Batch
    from export.process.errors import ExportError
    from export.request import ExportRequest
    from models.sources import Checkpoint, Overrides, Pretrained, RandomWeights, Weights

    weights: Weights
    if options.checkpoint is not None:
        weights = Checkpoint(options.checkpoint, options.weights_key)
    elif options.random_weights is not None:
        weights = RandomWeights(options.random_weights)
    elif options.pretrained:
        weights = Pretrained()
    else:
        raise ExportError(
            "no weights given: use a file with --checkpoint FILE, the library's weights with --pretrained, "
            "or random ones with --random-weights SEED"
        )
    if options.weights_key is not None and options.checkpoint is None:
        raise ExportError("--weights-key selects weights in --checkpoint FILE; give both or neither")
    if options.about is not None and len(options.about) > LONGEST_ABOUT:
        raise ExportError(f"--about has {len(options.about)} characters, at most {LONGEST_ABOUT} are allowed")
    smallest, largest = options.batch
    return ExportRequest(
        source=options.source,
        weights=weights,
        output=options.output,
        overrides=Overrides(
            options.image_size,
            options.window_size,
            options.config,
            trained_image_size=options.trained_image_size,
            trained_window_size=options.trained_window_size,
            model_args=dict(options.model_arg),
        ),
        takes=options.input,
        batch=Batch(min=smallest, max=largest),
        opset=options.opset,
        model=options.model,
        variant=options.variant,
        version=options.version,
        labels=options.labels,
        task=options.task,
        precision=options.precision,
        calibration=options.calibration,
        min_cosine=options.min_cosine,
        min_agreement=options.min_agreement,
        target=options.target,
        report=options.report,
        samples=options.samples,
        about=options.about,
        preparation=options.preparation,
    )


def _document(exported: "Exported") -> dict[str, object]:
    return {
        "path": str(exported.path),
        "seconds": {step: round(seconds, 3) for step, seconds in exported.seconds.items()},
        "manifest": exported.manifest.model_dump(mode="json", exclude_none=True),
    }


if __name__ == "__main__":
    gc.set_threshold(100_000, 50, 100)  # with the defaults, garbage collection takes an eighth of the time
    sys.exit(main())
