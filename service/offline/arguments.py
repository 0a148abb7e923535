"""Command line, without slow imports, so a usage error is reported immediately."""

import argparse
from pathlib import Path

OUTPUTS = (".csv", ".jsonl", ".parquet")
"""Suffixes of output files, the keys of `service.offline.formats.FORMATS`."""

_EPILOG = (
    "The server's other settings are taken from the environment: POSBAKE_RESIZER and so on. Exit status: "
    "0 done; 1 failed, or images were excluded from an evaluation; 2 usage; 128 + n ended by signal n, Ctrl-C being 2."
)


def parser() -> argparse.ArgumentParser:
    """Return the parser of `python -m service.offline`."""
    top = argparse.ArgumentParser(
        prog="python -m service.offline",
        description="Classify image files like the server, without HTTP, on all cores.",
        epilog=_EPILOG,
        allow_abbrev=False,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="predict|evaluate")
    predict = commands.add_parser(
        "predict",
        help="write the most probable classes of every image to a file",
        description="Write the most probable classes of every image to a file. Images already in the file are skipped.",
        epilog=_EPILOG,
        allow_abbrev=False,
    )
    predict.add_argument("paths", nargs="+", type=_path, metavar="PATH", help="image files, or directories of them")
    predict.add_argument("--variant", type=_text, help="name of the variant; optional if there is only one")
    predict.add_argument("--version", type=_positive, metavar="N", help="version; default: the newest")
    predict.add_argument(
        "--output", type=_output, required=True, metavar="FILE", help=f"output file: {', '.join(OUTPUTS)}"
    )
    predict.add_argument(
        "--top-k", type=_positive, default=5, metavar="K", help="maximum number of classes per image; default: 5"
    )
    where = predict.add_mutually_exclusive_group()
    where.add_argument(
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
    evaluate.add_argument("--variants", type=_names, metavar="A,B", help="names of variants; default: all of the model")
    evaluate.add_argument("--output", type=_path, metavar="DIR", help="directory for recalls, matrices and report.json")
    evaluate.add_argument("--record", action="store_true", help="write the accuracy into the artifacts' manifests")
    evaluate.add_argument(
        "--dataset", type=_text, metavar="NAME", help="name of the data set for --record; default: the directory's"
    )
    for command in (predict, evaluate):
        command.add_argument(
            "--repository", type=_path, metavar="DIR", help="directory of artifacts; default: artifacts"
        )
        command.add_argument("--model", type=_text, help="name of the model; optional if there is only one")
        command.add_argument("--backend", type=_text, help="backend; default: auto")
        command.add_argument("--device", type=_text, help="device; default: auto")
        command.add_argument("--threads", type=_positive, metavar="N", help="CPU threads; default: the available cores")
        (where if command is predict else command).add_argument(
            "--processes",
            type=_positive,
            metavar="N",
            help="processes, among which the threads are divided; default: one per thread on the CPU, if memory allows "
            "it and there are 2,000 files or more",
        )
        command.add_argument("--json", action="store_true", help="print results as JSON")
        command.add_argument("--quiet", action="store_true", help="show no progress and no table")
    return top


def _text(argument: str) -> str:
    if not argument.strip():
        raise argparse.ArgumentTypeError("it is empty; leave out the option, or give it a value")
    return argument


def _path(argument: str) -> Path:
    return Path(_text(argument))


def _output(argument: str) -> Path:
    path = _path(argument)
    if path.suffix.lower() not in OUTPUTS:
        raise argparse.ArgumentTypeError(
            f"predictions are written as {', '.join(OUTPUTS[:-1])} or {OUTPUTS[-1]}, but {argument!r} ends with none"
        )
    return path


def _positive(argument: str) -> int:
    number = int(argument)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{argument} is below 1")
    return number


def _names(argument: str) -> list[str]:
    return [_text(name.strip()) for name in argument.split(",")]
