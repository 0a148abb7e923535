"""`python export/to_tensorrt.py ARTIFACT --output DIR …`: build the TensorRT engine of an artifact's graph.

Exit status 0: success; 1: failure; 2: usage; 128 + n: terminated by signal n (Ctrl-C: 2). After a failure or signal the
repository is unchanged.
"""

import argparse
import sys
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from export.process.arguments import Options, gibibytes, path, positive, profile, share, text
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
    whole = Options(parser)
    whole.add("artifact", path, "directory with manifest.json", "ARTIFACT")
    whole.add("--output", path, "repository to write to", "DIR", required=True)
    flavour = (
        "tensorrt (default): TensorRT 10 or 11, which builds on the GPU that runs the engine; rtx: TensorRT-RTX, for "
        "GeForce and RTX GPUs, which also builds ahead of time without one"
    )
    whole.add("--flavour", ["tensorrt", "rtx"], flavour, default="tensorrt")
    precision = "precision of the strongly typed graph; default: fp16 for an fp32 artifact, else the artifact's own"
    whole.add("--precision", ["fp32", "fp16", "bf16", "int8"], precision)
    sizes = "batch sizes that the engine accepts, and the one it is optimised for; default: the artifact's, 8"
    whole.add("--batch", profile, sizes, "MIN:OPT:MAX")
    cosine = (
        "fail if the mean cosine between the logits and the network's is below; default: 0.9999 for fp16, 0.999 for "
        "bf16; ignored if the precision does not change"
    )
    whole.add("--min-cosine", share, cosine, "X")
    builder = whole.group("builder")
    builder.add("--workspace", gibibytes, "GPU memory for the builder; default: all", "GiB")
    builder.add("--optimization-level", range(6), "0 to 5; default: TensorRT's, 3", "N")
    builder.add("--timing-cache", path, "kernel timings, read if the file exists, and written (tensorrt)", "FILE")
    compatible = "engine that later versions of the same major version can run; contains host code (tensorrt)"
    builder.add("--version-compatible", None, compatible)
    identity = whole.group("identity")
    variant = "name of the variant; default: the artifact's, with -fp16 or -bf16 if changed, and the flavour"
    identity.add("--variant", text, variant, "NAME")
    identity.add("--version", positive, "default: the next one", "N")
    output = whole.group("output")
    output.add("--report", None, "write engine.json beside the engine: precision and bytes of each layer")
    output.add_output()
    return parser


def _request(options: argparse.Namespace) -> "EngineRequest":
    from artifact import BuilderSettings, Profile
    from export.engine.request import EngineRequest

    given: dict[str, Any] = {field.name: getattr(options, field.name, None) for field in fields(EngineRequest)}
    sizes = None if options.batch is None else dict(zip(("min", "opt", "max"), options.batch, strict=True))
    settings = BuilderSettings(
        workspace_bytes=options.workspace,
        optimization_level=options.optimization_level,
        version_compatible=options.version_compatible,
    )
    return EngineRequest(**given | {"profile": None if sizes is None else Profile(**sizes), "settings": settings})


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
