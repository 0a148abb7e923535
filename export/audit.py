"""`python export/audit.py MODEL.onnx`: list constant subgraphs, duplicates, and what TensorRT does not support.

From Python: `export.auditing.audit(model)`. Exit status 0: no findings; 1: findings, or the file cannot be read;
2: usage.
"""

import argparse
import json
import logging
import sys

from export.process.arguments import path
from export.process.memory import without_collections

CLEAN, FOUND = 0, 1


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    # These import onnx, which takes a while: only after the usage is validated.
    from rich.console import Console

    from export.auditing import UnreadableModelError, audit, load_model, load_support
    from export.auditing.findings import print_audit

    logging.getLogger("onnx_ir").setLevel(logging.ERROR)  # the audit itself reports types that cannot be inferred
    try:
        tensorrt = load_support().check_version(options.tensorrt) if options.tensorrt else None
    except ValueError as error:
        parser.error(str(error))
    try:
        with without_collections():
            result = audit(load_model(options.model), tensorrt=tensorrt, in_place=True)
    except UnreadableModelError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return FOUND
    if options.json:
        found = result.model_dump(mode="json", exclude_none=True)
        print(json.dumps({"model": str(options.model), "clean": result.clean, **found}, indent=2))  # noqa: T201
    elif not options.quiet:
        print_audit(result, str(options.model), Console())
    return CLEAN if result.clean else FOUND


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="audit.py",
        description="List constant subgraphs, duplicate tensors and operators that TensorRT does not support in any "
        "ONNX file.",
        epilog="Exit status: 0 no findings (information does not count); 1 errors or warnings were found, "
        "or the file cannot be read; 2 usage.",
        allow_abbrev=False,
    )
    parser.add_argument("model", metavar="MODEL.onnx", type=path, help="the file; its external data beside it")
    parser.add_argument(
        "--tensorrt", metavar="MAJOR.MINOR", help="check against an older TensorRT than that of the support table"
    )
    parser.add_argument("--quiet", action="store_true", help="print errors only; see the exit status")
    parser.add_argument("--json", action="store_true", help="print all findings as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
