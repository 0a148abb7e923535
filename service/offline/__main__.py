"""`python -m service.offline predict|evaluate`: classify image files like the server, without HTTP.

Exit status 0: done; 1: failed, or images were excluded from an evaluation; 2: usage; 128 + n: ended by signal n, Ctrl-C
being 2. Results written before are kept.
"""

import argparse
import json
import sys
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from service.offline.arguments import parser
from service.offline.stopping import StoppedError, Stopping
from service.resources.exit import end_process
from service.resources.packages import packages_required
from service.resources.streams import open_standard_streams

if TYPE_CHECKING:
    from service.offline.predicting import PredictionSummary, Runs
    from service.settings import Settings

DONE, FAILED, USAGE = 0, 1, 2


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    options = parser().parse_args(arguments)
    stopping = Stopping()
    try:
        with stopping.signals(), packages_required("python -m service.offline"):
            return _run(options, stopping)
    except StoppedError as stopped:
        return _fail(stopped.status, f"stopped by {stopped}; results written before are kept")


def _run(options: argparse.Namespace, stopping: Stopping) -> int:
    # These import NumPy, Pillow and the runtime: only after the usage is validated.
    from pydantic import ValidationError

    from artifact import ArtifactError
    from service.problems.errors import ServiceError
    from service.settings import Settings

    names = ("repository", "backend", "device", "threads")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    try:
        settings = Settings(**given)
    except ValidationError as error:
        problems = (f"POSBAKE_{'_'.join(map(str, one['loc'])).upper()}: {one['msg']}" for one in error.errors())
        return _fail(USAGE, "; ".join(problems))
    if options.processes is not None and options.processes > settings.threads:
        return _fail(
            USAGE,
            f"--processes {options.processes} needs a thread for each, but there are {settings.threads}; give a "
            "smaller number, or more --threads",
        )
    try:
        if options.command == "predict":
            return _predict(options, settings, stopping)
        return _evaluate(options, settings, stopping)
    except (ServiceError, ArtifactError) as error:
        return _fail(FAILED, str(error))
    except OSError as error:
        return _fail(FAILED, f"cannot write {error.filename or 'the output'}: {error.strerror or error}")


def _predict(options: argparse.Namespace, settings: "Settings", stopping: Stopping) -> int:
    from service.offline.choosing import choose
    from service.offline.cluster import running_on
    from service.offline.files import image_files
    from service.offline.opening import running_here
    from service.offline.predicting import PredictionSummary, Request, predict_files
    from service.offline.progress import Bar

    location = choose(settings.repository, options.model, options.variant, options.version)
    summary = PredictionSummary(str(location), str(options.output))
    request = Request(tuple(options.paths), options.output, options.top_k)
    opened: AbstractContextManager[Runs]
    if options.ray is not None:
        opened = running_on(options.ray, location, settings, stopping)
    else:
        opened = running_here(location, settings, options.processes, image_files(options.paths))
    try:
        with opened as runner:
            predict_files(request, runner, stopping, Bar(quiet=options.quiet), summary)
    finally:
        if summary.processes:  # the network was opened
            _report(summary, options)  # outside of `opened`, because that of Ray redirects stdout
    return DONE


def _report(summary: "PredictionSummary", options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps(summary.as_json()))  # noqa: T201
    elif not options.quiet:
        print(summary, file=sys.stderr)  # noqa: T201


def _evaluate(options: argparse.Namespace, settings: "Settings", stopping: Stopping) -> int:
    from rich.console import Console

    from service.offline.choosing import choose_variants
    from service.offline.evaluating import Findings, check_all, evaluate
    from service.offline.progress import Bar
    from service.offline.report import as_json, make_directory, print_findings, write_report, write_variant

    locations = choose_variants(settings.repository, options.model, options.variants)
    if options.output is not None:
        make_directory(options.output)
    checked = check_all(options.images, locations, options.dataset, record=options.record)
    findings = Findings()
    bar = Bar(quiet=options.quiet)
    try:
        for evaluation in evaluate(
            checked, settings, options.processes, stopping, bar, findings, record=options.record
        ):
            if options.output is not None:
                write_variant(evaluation, options.output)
    finally:
        if findings.evaluations:
            if options.output is not None:
                write_report(findings, options.output)
            if options.json:
                print(json.dumps(as_json(findings), indent=2))  # noqa: T201
            elif not options.quiet:
                print_findings(findings, Console())
    return FAILED if findings.excluded else DONE


def _fail(status: int, sentence: str) -> int:
    from artifact.text import escaped  # file names in a sentence may have any bytes

    print(f"python -m service.offline: {escaped(sentence)}", file=sys.stderr)  # noqa: T201
    return status


if __name__ == "__main__":
    open_standard_streams()
    end_process(main())
