"""The networks in torch: eager, compiled, and compiled ahead of time; fp16 on a GPU; times include copies."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.gpu.part import Emit, Settings, each_network, torch_device

Prepare = Callable[[Any, Any], Callable[[Any], Any]]
"""Map a network and example images on the device to a function of images."""


def eager(settings: Settings, emit: Emit) -> None:
    """Time the eager network."""
    _time(settings, emit, lambda network, _: network)


def compiled(settings: Settings, emit: Emit) -> None:
    """Time `torch.compile` with max-autotune, which uses CUDA graphs."""
    torch = torch_device(settings)
    mode = "max-autotune" if settings.device == "cuda" else "default"

    def prepare(network: Any, _: Any) -> Callable[[Any], Any]:  # noqa: ANN401
        return torch.compile(network, mode=mode, dynamic=False)  # type: ignore[no-any-return]

    _time(settings, emit, prepare)


def ahead_of_time(settings: Settings, emit: Emit) -> None:
    """Time an AOTInductor package, compiled for each batch size."""
    torch = torch_device(settings)
    with tempfile.TemporaryDirectory() as folder:

        def prepare(network: Any, images: Any) -> Callable[[Any], Any]:  # noqa: ANN401
            path = Path(folder, f"{len(images)}.pt2")
            path.unlink(missing_ok=True)
            program = torch.export.export(network, (images,))
            built = torch._inductor.aoti_compile_and_package(program, package_path=str(path))
            return torch._inductor.aoti_load_package(built)  # type: ignore[no-any-return]

        _time(settings, emit, prepare)


def load(source: str) -> tuple[Any, list[int]]:
    """Return a network with the same random weights as its artifact, and its image size."""
    from models.sources import Overrides, RandomWeights, load_source

    loaded = load_source(source, RandomWeights(0), Overrides())
    return loaded.network.eval(), list(loaded.image_size)


def _time(settings: Settings, emit: Emit, prepare: Prepare) -> None:
    torch = torch_device(settings)
    dtype = torch.float16 if settings.device == "cuda" else torch.float32
    loaded: dict[str, Any] = {}
    for source, batch, measure in each_network(settings, emit):
        if source not in loaded:
            network, size = load(source)
            loaded[source] = network.to(settings.device, dtype), size
        network, size = loaded[source]
        images = torch.randn(batch, 3, *size, dtype=dtype)
        if settings.device == "cuda":
            images = images.pin_memory()
        with torch.inference_mode():
            run = prepare(network, images.to(settings.device))
            measure(lambda run=run, images=images: run(images.to(settings.device, non_blocking=True)).cpu())  # type: ignore[misc]
