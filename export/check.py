"""`python export/check.py ARTIFACT`: run the artifact's golden check, as the service does at load.

Exit status 0: within the limit; 1: above it, or the artifact cannot be checked; 2: usage; 128 + n: terminated by
signal n.
"""

import argparse
import sys
from typing import TYPE_CHECKING

from export.process.arguments import Options, path
from export.process.command import Command, run

if TYPE_CHECKING:
    from export.verify.golden_check import Run


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    return run(_parser().parse_args(arguments), _command)


def _command(options: argparse.Namespace) -> "Command[list[Run]]":
    from export.verify.golden_check import check_artifact, print_runs  # imports the runtimes

    name = str(options.artifact)

    def passed(runs: "list[Run]") -> bool:
        return all(each.passed for each in runs)

    return Command(
        lambda _: check_artifact(options.artifact, options.backend, options.precision),
        lambda runs: {
            "artifact": name,
            "passed": passed(runs),
            "runs": [each.model_dump(mode="json") for each in runs],
        },
        lambda runs, console: print_runs(runs, name, console),
        succeeded=passed,
        interrupted="interrupted",
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="check.py",
        description="Run an artifact's golden images at the smallest batch and as one batch, and compare the logits "
        "with those of the original network in float64.",
        epilog="Exit status: 0 within the limit; 1 above it, or the artifact cannot be checked; 2 usage.",
        allow_abbrev=False,
    )
    whole = Options(parser)
    whole.add("artifact", path, "directory with manifest.json", "ARTIFACT")
    backend = "default: %(default)s, on the CPU"
    whole.add("--backend", ["onnxruntime", "openvino"], backend, default="onnxruntime")
    precision = "precision in which OpenVINO computes an fp32 graph, if the CPU has it; default: fp32"
    whole.add("--precision", ["fp32", "bf16", "fp16"], precision)
    whole.add_output("print errors only", "print all runs as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
