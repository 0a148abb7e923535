"""Report of a TensorRT engine: a table on the terminal."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from engines import summarise
from export.engine.request import EngineExported


def print_engine(built: EngineExported, console: Console) -> None:
    """Print the engine, its layers and the seconds of each step."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, text in _rows(built):
        table.add_row(name, escape(text))
    table.add_row("seconds", "  ".join(f"{step} {value:.1f}" for step, value in built.seconds.items()))
    console.print(table)
    # Not wrapped, so that it can be copied.
    console.print(f"[bold]artifact[/] {escape(str(built.path))}", soft_wrap=True, highlight=False)


def _rows(built: EngineExported) -> list[tuple[str, str]]:
    manifest, engine = built.manifest, built.manifest.engine
    assert engine is not None
    summary = summarise(built.layers)
    settings = engine.settings
    place = (
        f"{engine.gpu.name}, compute capability {engine.gpu.compute_capability}"
        if engine.gpu is not None
        else f"built without a GPU, for compute capability {', '.join(engine.targets)}"
    )
    size = manifest.files[engine.file].size
    rows = [
        ("engine", f"{engine.library} {engine.version}, {size / 2**20:.1f} MiB"),
        ("runs on", place),
        ("batch", f"{engine.profile.min} to {engine.profile.max}, kernels optimised for {engine.profile.opt}"),
        ("precision", f"{manifest.precision}, strongly typed, TF32 off"),
    ]
    chosen = {
        "workspace": settings.workspace_bytes and f"{settings.workspace_bytes / 2**30:g} GiB",
        "optimization level": settings.optimization_level,
        "version-compatible": settings.version_compatible or None,
    }
    if given := [f"{name} {value}" for name, value in chosen.items() if value is not None]:
        rows.append(("settings", ", ".join(given)))
    if built.layers:
        kinds = ", ".join(f"{count} in {precision or 'no type'}" for precision, count in summary.precisions.items())
        softmaxes = manifest.graph.ops.get("Softmax", 0) + manifest.graph.ops.get("Attention", 0)
        rows += [
            ("layers", f"{summary.layers}: {kinds}; {summary.constant_bytes / 2**20:.1f} MiB of constants"),
            ("attention", f"{summary.attention} fused kernels, {softmaxes} Softmax or Attention nodes in the graph"),
        ]
    else:
        rows.append(("layers", "the builder does not list them"))
    return rows + [("warning", warning) for warning in built.warnings]
