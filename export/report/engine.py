"""Report of a TensorRT engine: a table on the terminal."""

from rich.console import Console

from engines import summarise
from export.engine.request import EngineExported
from export.report.terminal import print_rows


def print_engine(built: EngineExported, console: Console) -> None:
    """Print the engine, its layers and the seconds of each step."""
    print_rows(_rows(built), built.seconds, built.path, console)


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
