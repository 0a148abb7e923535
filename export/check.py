"""`python export/check.py ARTIFACT`: run the artifact's golden images and compare, as the service does at load.

Exit status 0: within the limit; 1: not, or it cannot be checked; 2: usage; 128 + n: ended by signal n.
"""

import argparse
import json
import sys

from export.process.arguments import path
from export.process.interruption import exit_status, signals_as_interrupts

PASSED, FAILED = 0, 1


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        with signals_as_interrupts():
            return _check(options)
    except KeyboardInterrupt as interruption:
        return exit_status(interruption)


def _check(options: argparse.Namespace) -> int:
    # These import torch and runtimes, which takes seconds: only after the usage is validated.
    from rich.console import Console

    from artifact import ArtifactError
    from export.process.errors import ExportError
    from export.verify.golden_check import check_artifact, print_runs

    try:
        runs = check_artifact(options.artifact, options.backend, options.precision)
    except (ArtifactError, ExportError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return FAILED
    passed = all(run.passed for run in runs)
    if options.json:
        found = [run.model_dump(mode="json") for run in runs]
        print(json.dumps({"artifact": str(options.artifact), "passed": passed, "runs": found}, indent=2))  # noqa: T201
    elif not options.quiet:
        print_runs(runs, str(options.artifact), Console())
    return PASSED if passed else FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="check.py",
        description="Run an artifact's golden images at the smallest batch and as one batch, and compare the logits "
        "with those of the original network in float64.",
        epilog="Exit status: 0 within the limit; 1 above it, or the artifact cannot be checked; 2 usage.",
        allow_abbrev=False,
    )
    parser.add_argument("artifact", metavar="ARTIFACT", type=path, help="directory with manifest.json")
    parser.add_argument(
        "--backend", choices=("onnxruntime", "openvino"), default="onnxruntime", help="default: %(default)s, on the CPU"
    )
    parser.add_argument(
        "--precision",
        choices=("fp32", "bf16", "fp16"),
        default="fp32",
        help="precision in which OpenVINO computes an fp32 graph; default: %(default)s",
    )
    parser.add_argument("--quiet", action="store_true", help="print errors only; see the exit status")
    parser.add_argument("--json", action="store_true", help="print all runs as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
