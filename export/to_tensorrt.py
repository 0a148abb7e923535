"""`python export/to_tensorrt.py ARTIFACT --output DIR …`: build the TensorRT engine of an artifact's graph.

Exit status 0: success; 1: failure; 2: usage; 128 + n: terminated by signal n (Ctrl-C: 2). After a failure or signal the
repository is unchanged.
"""

import argparse
import sys
from typing import TYPE_CHECKING

from export.process.arguments import gibibytes, path, positive, profile, share, text
from export.process.command import Command, Progress, run

if TYPE_CHECKING:
    from export.engine.request import EngineExported, EngineRequest


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    return run(_parser().parse_args(arguments), _command)


def _command(options: argparse.Namespace) -> "Command[EngineExported]":
    from engines import EngineError
    from export.engine.pipeline import build_artifact  # imports onnx
    from export.report.engine import print_engine

    def work(progress: Progress) -> "EngineExported":
        return build_artifact(_request(options), progress.step, progress.phase)

    return Command(work, _document, print_engine, (EngineError,))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="to_tensorrt.py",
        description="Build the TensorRT engine of an artifact's graph, and write both as a new artifact.",
        allow_abbrev=False,
    )
    parser.add_argument("artifact", metavar="ARTIFACT", type=path, help="directory with manifest.json")
    parser.add_argument("--output", metavar="DIR", type=path, required=True, help="repository to write to")
    parser.add_argument(
        "--flavour",
        choices=["tensorrt", "rtx"],
        default="tensorrt",
        help="tensorrt (default): TensorRT 10 or 11, which builds on the GPU that runs the engine; rtx: TensorRT-RTX, "
        "for GeForce and RTX GPUs, which also builds ahead of time without one",
    )
    parser.add_argument(
        "--precision",
        choices=["fp32", "fp16", "bf16", "int8"],
        help="precision of the strongly typed graph; default: fp16 for an fp32 artifact, else the artifact's own",
    )
    parser.add_argument(
        "--batch",
        metavar="MIN:OPT:MAX",
        type=profile,
        help="batch sizes that the engine accepts, and the one it is optimised for; default: the artifact's, 8",
    )
    parser.add_argument(
        "--min-cosine",
        metavar="X",
        type=share,
        help="fail if the mean cosine between the logits and the network's is below; default: 0.9999 for fp16, 0.999 "
        "for bf16; ignored if the precision does not change",
    )
    builder = parser.add_argument_group("builder")
    builder.add_argument("--workspace", metavar="GiB", type=gibibytes, help="GPU memory for the builder; default: all")
    builder.add_argument(
        "--optimization-level", metavar="N", type=int, choices=range(6), help="0 to 5; default: TensorRT's, 3"
    )
    builder.add_argument(
        "--timing-cache",
        metavar="FILE",
        type=path,
        help="kernel timings, read if the file exists, and written (tensorrt)",
    )
    builder.add_argument(
        "--version-compatible",
        action="store_true",
        help="engine that later versions of the same major version can run; contains host code (tensorrt)",
    )
    identity = parser.add_argument_group("identity")
    identity.add_argument(
        "--variant",
        metavar="NAME",
        type=text,
        help="name of the variant; default: the artifact's, with -fp16 or -bf16 if changed, and the flavour",
    )
    identity.add_argument("--version", metavar="N", type=positive, help="default: the next one")
    output = parser.add_argument_group("output")
    output.add_argument(
        "--report", action="store_true", help="write engine.json beside the engine: precision and bytes of each layer"
    )
    output.add_argument("--quiet", action="store_true", help="print errors only")
    output.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def _request(options: argparse.Namespace) -> "EngineRequest":
    from artifact import BuilderSettings, Profile
    from export.engine.request import EngineRequest

    sizes = None if options.batch is None else dict(zip(("min", "opt", "max"), options.batch, strict=True))
    return EngineRequest(
        artifact=options.artifact,
        output=options.output,
        flavour=options.flavour,
        precision=options.precision,
        profile=None if sizes is None else Profile(**sizes),
        settings=BuilderSettings(
            workspace_bytes=options.workspace,
            optimization_level=options.optimization_level,
            version_compatible=options.version_compatible,
        ),
        timing_cache=options.timing_cache,
        variant=options.variant,
        version=options.version,
        min_cosine=options.min_cosine,
        report=options.report,
    )


def _document(built: "EngineExported") -> dict[str, object]:
    from engines import summarise

    return {
        "path": str(built.path),
        "seconds": built.seconds,
        "layers": summarise(built.layers).model_dump(),
        "warnings": built.warnings,
        "manifest": built.manifest.model_dump(mode="json", exclude_none=True),
    }


if __name__ == "__main__":
    sys.exit(main())
