"""Report of an evaluation, as JSON, files and terminal output."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from artifact.text import escaped
from service.offline.confusion import draw, write_matrix
from service.offline.errors import OutputError
from service.offline.evaluating import Evaluation, Findings


def as_json(findings: Findings) -> dict[str, Any]:
    """Return all findings for JSON."""
    return {
        "variants": [_variant(evaluation) for evaluation in findings.evaluations],
        "comparisons": [
            {
                "variants": [test.first, test.second],
                "first_only": test.first_only,
                "second_only": test.second_only,
                "mcnemar_p": test.p,
            }
            for test in findings.comparisons()
        ],
    }


def make_directory(directory: Path) -> None:
    """Create a directory for the files, and check that it is writable.

    Raises:
        OutputError: the directory cannot be created or written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise OutputError(
            f"cannot write into {directory}: {error.strerror or error}; choose another --output"
        ) from error


def write_variant(evaluation: Evaluation, directory: Path) -> None:
    """Write recalls, confusion matrix and its image for a variant to an existing directory. Raises OSError."""
    labels, classes = evaluation.artifact.labels, len(evaluation.artifact.labels)
    with (directory / f"{evaluation.variant}-recall.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "images", "right", "recall"])
        for label, (right, count) in zip(labels, evaluation.score.recall(classes), strict=True):
            writer.writerow([label, count, right, right / count if count else ""])
    with (directory / f"{evaluation.variant}-confusion.csv").open("w", newline="", encoding="utf-8") as file:
        write_matrix(evaluation.score.pairs, labels, file)
    draw(evaluation.score.pairs, labels).save(directory / f"{evaluation.variant}-confusion.png")


def write_report(findings: Findings, directory: Path) -> None:
    """Write `report.json` to an existing directory. Raises OSError."""
    (directory / "report.json").write_text(json.dumps(as_json(findings), indent=2) + "\n", encoding="utf-8")


def print_findings(findings: Findings, console: Console) -> None:
    """Print a line for each variant, the tests of the best one against the others, and excluded images.

    There is at least one evaluation.
    """
    best = max(findings.evaluations, key=lambda one: one.score.right / one.score.count)
    title = f"{best.artifact.manifest.model} on {best.images.name}, {best.backend}"
    table = Table(title=escape(title))
    for column in ("variant", "images", "top-1", "95 % interval", "top-5", "weakest class", "images/s"):
        table.add_column(column, justify="left" if column in {"variant", "weakest class"} else "right")
    for one in findings.evaluations:
        score, (low, high) = one.score, one.score.interval
        table.add_row(
            escape(f"{one.variant}/{one.artifact.manifest.version}"),
            str(score.count),
            f"{score.right / score.count:.2%}",
            f"{100 * low:.2f} to {100 * high:.2f}",
            f"{score.top5 / score.count:.2%}",
            escape(_weakest(score.recall(len(one.artifact.labels)), one.artifact.labels)),
            f"{one.images_per_second:.0f}",
        )
    console.print(table)
    for test in findings.comparisons():
        if best.variant in (test.first, test.second):
            console.print(
                f"{test.first} and {test.second}: {test.first_only} images classified correctly only by the first, "
                f"{test.second_only} only by the second; McNemar's p = {test.p:.3g}",
                markup=False,
            )
    for one in findings.evaluations:
        for path, reason in one.score.errors:
            console.print(f"{one.variant}: excluded {escaped(path)}: {reason}", markup=False, style="red")
        if one.score.excluded > len(one.score.errors):
            console.print(f"{one.variant}: excluded {one.score.excluded} images in total", markup=False, style="red")


def _variant(one: Evaluation) -> dict[str, Any]:
    manifest, score = one.artifact.manifest, one.score
    recalls = zip(one.artifact.labels, score.recall(len(one.artifact.labels)), strict=True)
    return {
        "model": manifest.model,
        "variant": manifest.variant,
        "version": manifest.version,
        "precision": manifest.precision,
        "backend": one.backend,
        "processes": one.processes,
        "dataset": one.images.name,
        "count": score.count,
        "top1": score.right / score.count,
        "top1_interval": score.interval,
        "top5": score.top5 / score.count,
        "recall": [
            {"label": label, "images": count, "right": right, "recall": right / count if count else None}
            for label, (right, count) in recalls
        ],
        "excluded": score.excluded,
        "errors": [{"path": path, "reason": reason} for path, reason in score.errors],
        "seconds": one.seconds,
        "images_per_second": one.images_per_second,
    }


def _weakest(recalls: Sequence[tuple[int, int]], labels: Sequence[str]) -> str:
    share, label = min((right / count, label) for label, (right, count) in zip(labels, recalls, strict=True) if count)
    return f"{label} {share:.1%}"
