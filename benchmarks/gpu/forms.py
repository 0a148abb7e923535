"""`python -m benchmarks.gpu.forms [SOURCE …]`: forms of attention in fp16 in ONNX Runtime on a GPU, as CUDA graphs.

The graph that the exporter writes, with MatMul and Softmax, is compared with Attention of opset 23 on [B, H, N, d] and
on [B, N, H·d]. Images stay on the GPU. Weights are random; layer norms, softmax and products accumulate in float32.
`--device cpu` tests the script.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import torch

from artifact import Batch
from benchmarks.gpu.torch_networks import load
from benchmarks.target_alternatives import Alternative, attention
from export.passes.graph import build_graph
from service.backends.onnx_runtime import DEVICES

SOURCES = ("timm:vit_small_patch16_224", "timm:swin_tiny_patch4_window7_224")
FORMS = (
    Alternative("MatMul, Softmax", 23),
    Alternative("Attention, 4-D", 23, rewrite=attention),
    Alternative("Attention, 3-D", 23, fuses_attention=True),
)
BATCHES = (1, 8, 32)


def main() -> None:
    """Print a row for each network and form."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.forms", description=__doc__)
    parser.add_argument("sources", nargs="*", default=SOURCES)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--runs", type=int, default=60)
    options = parser.parse_args()
    print(f"{datetime.now(UTC).date()}, ONNX Runtime {onnxruntime.__version__}, fp16, device {options.device}\n")
    print(f"| network | form | nodes Attention | {' | '.join(f'batch {size}, ms' for size in BATCHES)} | difference |")
    print(f"| --- | --- |{' ---: |' * (len(BATCHES) + 2)}")
    for source in options.sources:
        network, size = load(source)
        first: list[np.ndarray] = []
        for form in FORMS:
            example, sizes = torch.zeros(2, 3, *size), Batch(min=1, max=max(BATCHES))
            with form.chosen():
                model = build_graph(network, example, sizes, form.opset, fuses_attention=form.fuses_attention).model
            _halve(model)
            times, logits = zip(*_timed(model, options.device, size, options.runs), strict=True)
            first = first or list(logits)
            off = max(np.abs(one - other).max() / np.abs(one).max() for one, other in zip(first, logits, strict=True))
            count = sum(node.op_type == "Attention" for node in model.graph)
            print(f"| `{source}` | {form.name} | {count} | {' | '.join(f'{ms:.3f}' for ms in times)} | {off:.1e} |")


def _halve(model: ir.Model) -> None:
    """Make all floats of a graph float16, including its input and output."""
    half = ir.TensorType(ir.DataType.FLOAT16)
    for value in model.graph.initializers.values():
        if value.dtype == ir.DataType.FLOAT and value.const_value is not None:
            value.const_value = ir.tensor(value.const_value.numpy().astype(np.float16), name=value.name)
    outputs = [output for node in model.graph for output in node.outputs]
    for value in (*model.graph.inputs, *model.graph.initializers.values(), *outputs):
        if value.dtype == ir.DataType.FLOAT:
            value.type = half


def _timed(model: ir.Model, device: str, size: Sequence[int], runs: int) -> Iterator[tuple[float, np.ndarray]]:
    """Yield the median time of a run in ms and the logits, for each batch size."""
    graphs = {"enable_cuda_graph": "1"} if device == "cuda" else {}
    providers = [(name, {**given, **graphs}) for name, given in DEVICES[device].providers.items()]
    with tempfile.TemporaryDirectory() as folder:
        ir.save(model, Path(folder, "model.onnx"))
        onnxruntime.preload_dlls()
        session = onnxruntime.InferenceSession(Path(folder, "model.onnx"), providers=providers, enable_fallback=0)
    (source,), (result,) = session.get_inputs(), session.get_outputs()
    for batch in BATCHES:
        images = np.random.default_rng(0).normal(size=(batch, 3, *size)).astype(np.float16)
        logits = onnxruntime.OrtValue.ortvalue_from_shape_and_type([batch, result.shape[1]], np.float16, device, 0)
        binding, options = session.io_binding(), onnxruntime.RunOptions()
        binding.bind_ortvalue_input(source.name, onnxruntime.OrtValue.ortvalue_from_numpy(images, device, 0))
        binding.bind_ortvalue_output(result.name, logits)
        options.add_run_config_entry("gpu_graph_id", str(batch))
        taken = []
        for _ in range(runs + 3):
            start = time.perf_counter()
            session.run_with_iobinding(binding, options)
            logits.numpy()
            taken.append(1000 * (time.perf_counter() - start))
        yield statistics.median(taken[3:]), logits.numpy().astype(np.float32)


if __name__ == "__main__":
    main()
