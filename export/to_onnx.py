"""`python export/to_onnx.py SOURCE --output DIR …`: export a network to an artifact.

Exit status 0: success; 1: failure; 2: usage; 128 + n: terminated by signal n (Ctrl-C: 2). After a failure or signal the
repository is unchanged.
"""

import argparse
import gc
import sys
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from export.process.arguments import Options, batch, option, path, positive, share, size, text
from export.process.command import Command, run

if TYPE_CHECKING:
    from export.request import Exported, ExportRequest


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    return run(_parser().parse_args(arguments), _command)


def _command(options: argparse.Namespace) -> "Command[Exported]":
    from export.pipeline import export_onnx  # imports torch
    from export.report.terminal import print_report
    from models.sources import SourceError

    return Command(
        lambda progress: export_onnx(_checked_request(options), progress.step), _document, print_report, (SourceError,)
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="to_onnx.py",
        description="Export a vision transformer to ONNX with its position encodings as constants.",
        allow_abbrev=False,
    )
    whole = Options(parser)
    sources = (
        "posbake:<name or config file>, timm:<name>, torchvision:<name>, transformers:<id or local folder>, "
        "cream:<published name>, cream:custom; for your own network python:<path/file.py>:<function> or "
        "python:<package.module>:<function>"
    )
    whole.add("source", text, sources, "SOURCE")
    whole.add("--output", path, "repository to write to", "DIR", required=True)
    whole.add("--config", path, "configuration of cream:custom, as JSON", "FILE")

    weights = Options(parser.add_argument_group("weights (one is required)").add_mutually_exclusive_group())
    files = "safetensors or torch.save file with any suffix, index of shards, or folder with one of these"
    weights.add("--checkpoint", path, files, "FILE")
    weights.add("--pretrained", None, "weights published by the library, or returned by the function of python:")
    weights.add("--random-weights", int, "seed of random weights, for tests and measurements", "SEED")
    keys = (
        "key of the weights in --checkpoint: a container (state_dict_ema) or a prefix of keys, separated by dots; "
        "default: averages over training steps, then raw weights"
    )
    whole.add("--weights-key", str, keys, "NAME")

    shape = whole.group("shape")
    shape.add("--image-size", size, "pixels; default: the configuration's", "N|HxW")
    shape.add("--window-size", positive, "tokens; default: the configuration's", "N")
    trained = "size of training for --checkpoint"
    afterwards = "changes it afterwards"
    default = f"image {trained}, if not the name's default; --image-size {afterwards}"
    shape.add("--trained-image-size", size, default, "N|HxW")
    shape.add("--trained-window-size", positive, f"window {trained}; --window-size {afterwards}", "N")
    arguments = (
        "option of the library's constructor in training, such as global_pool=avg; can be repeated; VALUE is JSON or a "
        "word"
    )
    shape.add("--model-arg", option, arguments, "KEY=VALUE", action="append", default=[])
    shape.add("--batch", batch, "default: 1:32", "MIN:MAX", default=(1, 32))

    graph = whole.group("graph")
    pixels = "uint8 (default): NHWC pixels, normalised inside the graph; float32: NCHW, already normalised"
    graph.add("--input", ["uint8", "float32"], pixels, default="uint8", dest="takes")
    graph.add("--opset", range(20, 24), "20 (default) to 23", "N", default=20)

    numbers = whole.group("numbers")
    precisions = (
        "fp32 (default); fp16, bf16: strongly typed graph; int8: Q/DQ around products with weights, needs --calibration"
    )
    numbers.add("--precision", ["fp32", "fp16", "bf16", "int8"], precisions, default="fp32")
    images = (
        "directory with at least 16 images, also in subdirectories, in any format of the service; at most 512 are "
        "used, evenly spaced. They calibrate int8, and fp16, bf16 and int8 are compared on them; four are stored in "
        "the artifact's golden.npz"
    )
    numbers.add("--calibration", path, images, "DIR")
    cosine = "fail if the mean cosine between the logits and the network's is below; "
    numbers.add("--min-cosine", share, f"{cosine}default: 0.9999 for fp16, 0.999 for bf16, 0.99 for int8", "X")
    agreement = "fail if the top-1 agreement with the network is below; default: 0.97 for int8, else 0"
    numbers.add("--min-agreement", share, agreement, "X")

    identity = whole.group("identity")
    identity.add("--model", text, "name of the task; default: the source's", "NAME")
    variant = "name of the variant; default: the source's, else the encoding's, with -fp16, -bf16 or -int8"
    identity.add("--variant", text, variant, "NAME")
    identity.add("--version", positive, "version; default: the next one", "N")
    identity.add("--labels", path, "one label per line; default: the source's", "FILE")
    task = (
        "kind of outputs: logits of exclusive or independent classes, or values; default: the source's problem_type, "
        "else multi-label after a final sigmoid, regression for one output, else single-label"
    )
    identity.add("--task", ["single-label", "multi-label", "regression"], task)

    output = whole.group("output")
    target = (
        "runtime of the graph; portable (default) runs everywhere; onnxruntime has Attention nodes from --opset 23 on, "
        "faster on GPUs; openvino has the portable graph, as no other form was measurably faster; tensorrt fails if "
        "TensorRT's support table excludes an operator"
    )
    output.add("--target", ["portable", "onnxruntime", "openvino", "tensorrt"], target, default="portable")
    output.add("--report", None, "write report.html, a page with plots, beside the graph")
    samples = "sample images (PNG, JPEG, WebP) to store in the artifact, for the service's page"
    output.add("--samples", path, samples, "DIR")
    output.add("--about", text, "training data and unsuitable uses, shown on the service's page", "TEXT")
    ink = "preparation of photos on the service's page; ink: even out the paper, crop to a sign, darken it"
    output.add("--preparation", ["ink"], ink)
    output.add_output()
    return parser


def _checked_request(options: argparse.Namespace) -> "ExportRequest":
    from pydantic import ValidationError

    from export.process.errors import ExportError
    from models.sources.base import problems

    try:
        return _request(options)
    except ValidationError as error:
        raise ExportError(problems(error)) from error


def _request(options: argparse.Namespace) -> "ExportRequest":
    from artifact import Batch
    from export.process.errors import ExportError
    from export.request import ExportRequest
    from models.sources import Checkpoint, Overrides, Pretrained, RandomWeights, Weights

    weights: Weights
    if options.checkpoint is not None:
        weights = Checkpoint(options.checkpoint, options.weights_key)
    elif options.random_weights is not None:
        weights = RandomWeights(seed=options.random_weights)
    elif options.pretrained:
        weights = Pretrained()
    else:
        raise ExportError(
            "no weights given: use a file with --checkpoint FILE, the library's weights with --pretrained, "
            "or random ones with --random-weights SEED"
        )
    if options.weights_key is not None and options.checkpoint is None:
        raise ExportError("--weights-key selects weights in --checkpoint FILE; give both or neither")
    given: dict[str, Any] = {field.name: getattr(options, field.name, None) for field in fields(ExportRequest)}
    smallest, largest = options.batch
    sizes = {name: getattr(options, name) for name in ("trained_image_size", "trained_window_size")}
    overrides = Overrides(
        options.image_size, options.window_size, options.config, model_args=dict(options.model_arg), **sizes
    )
    given |= {"weights": weights, "overrides": overrides, "batch": Batch(min=smallest, max=largest)}
    return ExportRequest(**given)


def _document(exported: "Exported") -> dict[str, object]:
    return {
        "path": str(exported.path),
        "seconds": {step: round(seconds, 3) for step, seconds in exported.seconds.items()},
        "manifest": exported.manifest.model_dump(mode="json", exclude_none=True),
    }


if __name__ == "__main__":
    gc.set_threshold(100_000, 50, 100)  # with the defaults, garbage collection takes an eighth of the time
    sys.exit(main())
