"""Graphs of torch.onnx.export in ONNX Runtime, in the timed precision."""

import tempfile
from pathlib import Path

import numpy as np

from artifact import Batch
from benchmarks.gpu.golden import open_runtime
from benchmarks.gpu.part import Emit, Row, Settings, each_network, name_of, torch_device
from benchmarks.gpu.torch_networks import load


def run(settings: Settings, emit: Emit) -> None:
    """Time each network; if torch.onnx.export fails, its row has the reason."""
    open_runtime(settings)
    torch = torch_device(settings)
    half = settings.device == "cuda"
    opened: dict[str, object] = {}
    sizes: dict[str, list[int]] = {}
    for source, batch, measure in each_network(settings, emit):
        if source not in opened:
            network, size = load(source)
            sizes[source] = size
            dtype = torch.float16 if half else torch.float32
            try:
                opened[source] = _open(settings, network.to(dtype), torch.zeros(2, 3, *size, dtype=dtype))
            except Exception as error:  # noqa: BLE001 -- the exporter raises many types
                opened[source] = None
                emit(Row(name_of(source), {"found": f"not exported: {str(error).splitlines()[0][:200]}"}))
        session = opened[source]
        if session is not None:
            images = np.zeros((batch, 3, *sizes[source]), np.float16 if half else np.float32)
            measure(lambda session=session, images=images: session.run(None, {"image": images}))  # type: ignore[misc]


def _open(settings: Settings, network, example):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    import onnx_ir as ir
    import onnxruntime

    from benchmarks.stock import export_stock
    from service.backends.onnx_runtime import DEVICES

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        ir.save(export_stock(network, example, Batch(min=1, max=64), 20), path)
        providers = [(name, dict(options)) for name, options in DEVICES[settings.device].providers.items()]
        return onnxruntime.InferenceSession(path, providers=providers, enable_fallback=0)
