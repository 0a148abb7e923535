"""Command line. Slow imports are left out, so that a usage error is reported immediately."""

import argparse
from pathlib import Path

OUTPUTS = (".csv", ".jsonl", ".parquet")
"""Suffixes of outputs, the keys of `service.offline.formats.FORMATS`."""

_EPILOG = (
    "The server's other settings are taken from the environment: POSBAKE_RESIZER and so on. Exit status: "
    "0 done; 1 failed, or images were excluded from an evaluation; 2 usage; 128 + n ended by signal n, Ctrl-C being 2."
)


def parser() -> argparse.ArgumentParser:
    """Return the parser of `python -m service.offline`."""
    top = argparse.ArgumentParser(
        prog="python -m service.offline",
        description="Classify image files as the server would, without HTTP, on all cores.",
        epilog=_EPILOG,
        allow_abbrev=False,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="predict|evaluate")
    predict = commands.add_parser(
        "predict",
        help="write the most probable classes of every image into a file",
        description="Write the most probable classes of every image into a file. Images that it has are not run again.",
        epilog=_EPILOG,
        allow_abbrev=False,
    )
    predict.add_argument("paths", nargs="+", type=_path, metavar="PATH", help="image files, or directories of them")
    predict.add_argument("--variant", type=_text, help="which; may be left out where there is only one")
    predict.add_argument("--version", type=_positive, metavar="N", help="which; the newest by default")
    predict.add_argument(
        "--output", type=_output, required=True, metavar="FILE", help=f"where to: {', '.join(OUTPUTS)}"
    )
    predict.add_argument("--top-k", type=_positive, default=5, metavar="K", help="most classes of an image (5)")
    predict.add_argument(
        "--ray", type=_text, metavar="ADDRESS", help="run on the nodes of a Ray cluster: host:6379, auto, or local"
    )
    evaluate = commands.add_parser(
        "evaluate",
        help="measure the accuracy of variants on labelled images",
        description="Measure accuracy on a directory with a subdirectory for each class, or on a CSV file.",
        epilog=_EPILOG,
        allow_abbrev=False,
    )
    evaluate.add_argument("images", type=_path, metavar="DIR|FILE.csv", help="labelled images")
    evaluate.add_argument("--variants", type=_names, metavar="A,B", help="which; all of the model by default")
    evaluate.add_argument("--output", type=_path, metavar="DIR", help="directory for recalls, matrices and report.json")
    evaluate.add_argument("--record", action="store_true", help="write the accuracy into the artifacts' manifests")
    evaluate.add_argument("--dataset", type=_text, metavar="NAME", help="its name there; the directory's by default")
    for command in (predict, evaluate):
        command.add_argument("--repository", type=_path, metavar="DIR", help="directory of artifacts (artifacts)")
        command.add_argument("--model", type=_text, help="which; may be left out where there is only one")
        command.add_argument("--backend", type=_text, help="what runs it (auto)")
        command.add_argument("--device", type=_text, help="where it runs (auto)")
        command.add_argument("--threads", type=_positive, metavar="N", help="CPU threads; the cores by default")
        command.add_argument("--json", action="store_true", help="print what was found as JSON")
        command.add_argument("--quiet", action="store_true", help="show no progress and no table")
    return top


def _text(argument: str) -> str:
    if not argument.strip():
        raise argparse.ArgumentTypeError("it is empty; leave the option out, or give it a value")
    return argument


def _path(argument: str) -> Path:
    return Path(_text(argument))


def _output(argument: str) -> Path:
    path = _path(argument)
    if path.suffix.lower() not in OUTPUTS:
        raise argparse.ArgumentTypeError(
            f"predictions are written as {', '.join(OUTPUTS[:-1])} or {OUTPUTS[-1]}, and {argument!r} ends with none"
        )
    return path


def _positive(argument: str) -> int:
    number = int(argument)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{argument} is below 1")
    return number


def _names(argument: str) -> list[str]:
    return [_text(name.strip()) for name in argument.split(",")]
