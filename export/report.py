"""What an export tells its user: a short table on a terminal."""

from collections import Counter

from rich.console import Console
from rich.table import Table

from artifact import Manifest
from export.pipeline import Exported

_SHOWN_OPS = 6


def print_report(exported: Exported, console: Console) -> None:
    """Print what was baked, what is left to compute, parity and times."""
    manifest = exported.manifest
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for row in _rows(manifest):
        table.add_row(*row)
    table.add_row("seconds", "  ".join(f"{step} {value:.1f}" for step, value in exported.seconds.items()))
    console.print(table)
    console.print(f"[bold]artifact[/] {exported.path}", soft_wrap=True, highlight=False)  # in one piece, to be copied


def _rows(manifest: Manifest) -> list[tuple[str, str]]:
    graph, image, parity, batch = manifest.graph, manifest.input, manifest.parity, manifest.input.batch
    ops = Counter(graph.ops).most_common()
    rest = len(ops) - _SHOWN_OPS
    shown = ", ".join(f"{count} {op}" for op, count in ops[:_SHOWN_OPS]) + (f", {rest} kinds more" if rest > 0 else "")
    sizes = str(batch.min) if batch.min == batch.max else f"{batch.min} to {batch.max}"
    rows = [
        ("network", f"{manifest.source.name}, {manifest.architecture}, encoding {manifest.encoding}"),
        ("input", f"{image.dtype} {image.layout} {image.height}×{image.width}, batch {sizes}"),
        ("graph", f"opset {graph.opset}, {graph.nodes} nodes: {shown}"),
        ("left over", f"{graph.constant_only_nodes} constant-only nodes, {graph.table_gathers} gathers from a table"),
    ]
    rows += [("resampled", what) for what in manifest.resampled]
    for kind in ("static", "query-dependent"):
        of_kind = [item for item in manifest.baked if item.kind == kind]
        if of_kind:
            size = sum(item.bytes for item in of_kind) / 1024
            rows.append(
                (kind, f"{len(of_kind)} × {size / len(of_kind):.1f} KiB, first {of_kind[0].module}: {of_kind[0].what}")
            )
    batches = ", ".join(map(str, parity.batches))
    rows.append(
        (
            "parity",
            f"{parity.max_rel_error:.1e} of the largest logit at batches {batches} (limit {parity.tolerance:.0e})",
        )
    )
    if manifest.accuracy is not None:
        accuracy = manifest.accuracy
        rows.append(("accuracy", f"{accuracy.top1:.2%} on {accuracy.dataset} ({accuracy.count} images)"))
    return rows
