"""Bake report as a short table on the terminal; the manifest and the page are complete."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from artifact import Manifest
from export.report.charts import operator_bars
from export.request import Exported
from export.verify.targets import CHOICES

_SHOWN_OPS = 6
_SHOWN_SENTENCES = 2


def print_report(exported: Exported, console: Console) -> None:
    """Print the baked constants, remaining operators, parity, and the seconds of each step."""
    print_rows(_rows(exported.manifest), exported.seconds, exported.path, console)


def print_rows(rows: list[tuple[str, str]], seconds: Mapping[str, float], path: Path, console: Console) -> None:
    """Print rows of (name, text), the seconds of each step, and the directory of the artifact."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, text in (*rows, ("seconds", "  ".join(f"{step} {value:.1f}" for step, value in seconds.items()))):
        table.add_row(name, escape(text))
    console.print(table)
    # Not wrapped, so that it can be copied.
    console.print(f"[bold]artifact[/] {escape(str(path))}", soft_wrap=True, highlight=False)


def _rows(manifest: Manifest) -> list[tuple[str, str]]:
    graph, image, batch = manifest.graph, manifest.input, manifest.input.batch
    sizes = str(batch.min) if batch.min == batch.max else f"{batch.min} to {batch.max}"
    ops = [f"{count} {op}" for op, count in Counter(graph.ops).most_common()]
    rows = [
        ("network", f"{manifest.source.name}, {manifest.architecture}, encoding {manifest.encoding}"),
        ("input", f"{image.dtype} {image.layout} {image.height}×{image.width}, batch {sizes}"),
        ("target", f"{manifest.target}: {CHOICES[manifest.target].basis}"),
        ("task", _task(manifest)),
        ("graph", f"opset {graph.opset}, {graph.nodes} nodes: {_some(ops, _SHOWN_OPS, 'kinds')}"),
        ("remaining", f"{graph.constant_only_nodes} constant-only nodes, {graph.table_gathers} gathers from a table"),
    ]
    if graph.operators:
        fewer = {name for name, (before, after) in graph.operators.items() if after < before}
        shrunk = [f"{bar.name} {bar.text}" for bar in operator_bars(graph) if bar.name in fewer]
        rows.append(("operators", _some(shrunk, _SHOWN_OPS, "kinds") if shrunk else "unchanged"))
    if manifest.rewrites is not None:
        rewrites = manifest.rewrites
        what = f"{rewrites.rewritten} chains of data movement rewritten, {rewrites.declined} rewrites declined"
        rows.append(("rewrites", f"{what}: listed in the manifest and by --report"))
    if manifest.resampled:
        rows.append(("resampled", _some(manifest.resampled, _SHOWN_SENTENCES, "")))
    rows += [("note", note) for note in manifest.notes]
    for kind in ("static", "query-dependent"):
        of_kind = [item for item in manifest.baked if item.kind == kind]
        if of_kind:
            size = sum(item.bytes for item in of_kind) / 1024
            first = of_kind[0]
            rows.append((kind, f"{len(of_kind)}, {size:.1f} KiB, first {first.module}: {first.what}"))
    rows.append(("reference", manifest.parity.reference))
    rows += _parity_rows(manifest)
    if manifest.accuracy is not None:
        accuracy = manifest.accuracy
        rows.append(("accuracy", f"{accuracy.top1:.2%} on {accuracy.dataset} ({accuracy.count} images)"))
    return rows


def _task(manifest: Manifest) -> str:
    activation = manifest.output.activation
    own = "" if activation == "none" else f"; the network ends in a {activation}, so none is added"
    return f"{manifest.task}, {manifest.output.classes} outputs{own}"


def _some(items: Iterable[str], most: int, what: str) -> str:
    """Return the first items, and the number of the others."""
    every = list(items)
    rest = len(every) - most
    return ", ".join(every[:most]) + (f", {' '.join(filter(None, (str(rest), what)))} more" if rest > 0 else "")


def _parity_rows(manifest: Manifest) -> list[tuple[str, str]]:
    """Return the largest error of the float32 graph and, for other precisions, the cosine and agreement."""
    parity = manifest.parity
    error, limit = f"{parity.max_rel_error:.1e} of the largest logit", f"(limit {parity.tolerance:.0e})"
    cosine, seen = parity.cosine, parity.calibration
    if cosine is None:
        if parity.batch_errors is None:
            return [("parity", f"{error} at batches {', '.join(map(str, parity.batches))} {limit}")]
        by_batch = zip(parity.batches, parity.batch_errors, strict=True)
        each = ", ".join(f"{worst:.1e} at {size}" for size, worst in by_batch)
        return [("parity", f"{error} {limit}; by batch: {each}")]
    images = "synthetic images" if seen is None else f"{seen.images} images of {seen.directory}"
    rows = [
        ("float32 parity", f"{parity.float32_error:.1e} of the largest logit {limit}"),
        (
            f"{manifest.precision} parity",
            f"cosine {cosine.mean:.6f}, at least {cosine.min:.6f} (limit {cosine.limit} on the mean); {error}; "
            f"top-1 {parity.top1_agreement:.2%} on {images}"
            + (f" (limit {parity.agreement_limit:.0%})" if parity.agreement_limit else ""),
        ),
    ]
    if parity.runs == ("emulated",):
        rows.append(
            (
                "emulated",
                f"ONNX Runtime's CPU provider has no {manifest.precision} kernels: the graph itself was not run",
            )
        )
    if manifest.graph.float32_nodes:
        kept = ", ".join(f"{count} {op}" for op, count in manifest.graph.float32_nodes.items())
        why = f"values may exceed the range of {manifest.precision}, or the opset does not support it"
        if manifest.precision == "int8":
            why = "layers with the largest errors, kept to meet the limits"
        rows.append(("float32 nodes", f"{kept}: {why}"))
    return rows
