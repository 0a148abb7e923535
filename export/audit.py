"""`python export/audit.py MODEL.onnx`: list constant subgraphs, duplicates, and unsupported operators in TensorRT.

From Python: `export.auditing.audit(model)`. Exit status 0: no errors or warnings; 1: errors or warnings, or the file
cannot be read; 2: usage; 128 + n: terminated by signal n.
"""

import argparse
import logging
import sys
from functools import partial
from typing import TYPE_CHECKING

from export.process.arguments import Options, path
from export.process.command import Command, Progress, run
from export.process.memory import without_collections

if TYPE_CHECKING:
    from export.auditing.findings import Audit


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = _parser()
    return run(parser.parse_args(arguments), partial(_command, parser))


def _command(parser: argparse.ArgumentParser, options: argparse.Namespace) -> "Command[Audit]":
    from export.auditing import audit, load_model, load_support  # imports onnx
    from export.auditing.findings import print_audit

    logging.getLogger("onnx_ir").setLevel(logging.ERROR)  # types that cannot be inferred are findings
    try:
        tensorrt = load_support().check_version(options.tensorrt) if options.tensorrt else None
    except ValueError as error:
        parser.error(str(error))
    name = str(options.model)

    def work(_: Progress) -> "Audit":
        with without_collections():
            return audit(load_model(options.model), tensorrt=tensorrt, in_place=True)

    return Command(
        work,
        lambda found: {"model": name, "clean": found.clean, **found.model_dump(mode="json", exclude_none=True)},
        lambda found, console: print_audit(found, name, console),
        succeeded=lambda found: found.clean,
        interrupted="interrupted",
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="audit.py",
        description="List constant subgraphs, duplicate tensors and operators that TensorRT does not support in any "
        "ONNX file.",
        epilog="Exit status: 0 no errors or warnings; 1 errors or warnings, or the file cannot be read; 2 usage.",
        allow_abbrev=False,
    )
    whole = Options(parser)
    whole.add("model", path, "ONNX file, with its external data in the same directory", "MODEL.onnx")
    whole.add("--tensorrt", str, "TensorRT version; default: that of the support table", "MAJOR.MINOR")
    whole.add_output("print errors only", "print all findings as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
