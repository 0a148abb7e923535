"""`python -m benchmarks.gpu.stub_cuda ARTIFACT …`: onnxruntime-gpu without a GPU, on a stub of CUDA without kernels.

ONNX Runtime's CUDA provider opens each artifact, with all nodes on it and CUDA graphs enabled. This verifies that it
accepts the options and has the kernels, not their results. Then a graph of copies alone runs in the buffers of the
first artifact. Requires gcc, nm, and onnxruntime-gpu with its CUDA libraries.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")
LARGEST = 8


def main(arguments: Sequence[str]) -> int:
    """Build the stub libraries, run this module with them, and return its exit status."""
    if arguments[0] == "--inside":
        return _inside(arguments[1:])
    spec = find_spec("nvidia")
    libraries = (
        [path for root in (spec.submodule_search_locations or ()) for path in Path(root).glob("*/lib")] if spec else []
    )
    cudnn = next((path / "libcudnn.so.9" for path in libraries if (path / "libcudnn.so.9").exists()), None)
    if cudnn is None:
        sys.stderr.write("cuDNN is not installed; install posbake's extra gpu in place of service\n")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder), cudnn)
        found = os.pathsep.join([folder, *(str(path) for path in libraries if path != cudnn.parent)])
        environment = {**os.environ, "LD_PRELOAD": f"{folder}/libcuda.so.1", "LD_LIBRARY_PATH": found}
        command = [sys.executable, "-m", "benchmarks.gpu.stub_cuda", "--inside", *arguments]
        return subprocess.run(command, env=environment, check=False).returncode  # noqa: S603


def build(folder: Path, cudnn: Path) -> None:
    """Compile stubs of driver and runtime, and of cuDNN, whose functions all return success."""
    listed = subprocess.run(["nm", "-D", "--defined-only", cudnn], capture_output=True, text=True, check=True).stdout  # noqa: S603, S607
    names = {line.split()[2].partition("@")[0] for line in listed.splitlines() if line.split()[1] == "T"}
    special = {"cudnnCreate", "cudnnGetVersion", "cudnnGetErrorString", "_init", "_fini"}
    functions = [f"int {name}(void) {{ return 0; }}" for name in sorted(names - special)]
    functions += [
        "#include <stdlib.h>",
        "int cudnnCreate(void **made) { *made = calloc(1, 4096); return 0; }",
        "unsigned long cudnnGetVersion(void) { return 91000; }",
        'const char *cudnnGetErrorString(int error) { return "stub"; }',
    ]
    (folder / "cudnn.c").write_text("\n".join(functions))
    for source, name in ((SOURCE, "libcuda.so.1"), (folder / "cudnn.c", "libcudnn.so.9")):
        command = ["gcc", "-w", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(folder / name), str(source)]
        subprocess.run(command, check=True)  # noqa: S603


def _inside(paths: Sequence[str]) -> int:
    """Open each artifact, run the copies, and return 1 if any failed."""
    import numpy as np
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    from artifact import read_artifact
    from service.backends.device_thread import DeviceThread
    from service.backends.fixed_batches import FixedBatches, Memory, run_options
    from service.backends.onnx_runtime import DEVICES, OnnxRuntimeBackend
    from service.backends.running import check_batch
    from service.problems.errors import ServiceError

    failed = 0
    print("| artifact | on CUDA |\n| --- | --- |")
    for path in paths:
        artifact = read_artifact(Path(path))
        try:
            opened = OnnxRuntimeBackend(artifact, "cuda", 1)
        except ServiceError as error:
            failed = 1
            print(f"| {artifact.manifest.key} | {error} |")
        else:
            how = "all nodes, CUDA graphs" if opened._graphs else "all nodes, no CUDA graphs"
            print(f"| {artifact.manifest.key} | {how}, {opened.precision} |")
            opened.close()
    manifest = read_artifact(Path(paths[0])).manifest
    shape = list(check_batch(manifest, LARGEST)[1:])
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(manifest.input.dtype))
    classes = manifest.output.classes
    graph = helper.make_graph(
        [
            helper.make_node("Cast", [manifest.input.name], ["numbers"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["numbers"], ["flat"], axis=1),
            helper.make_node("Slice", ["flat", "start", "end", "axis"], [manifest.output.name]),
        ],
        "copies",
        [helper.make_tensor_value_info(manifest.input.name, kind, ["batch", *shape])],
        [helper.make_tensor_value_info(manifest.output.name, TensorProto.FLOAT, ["batch", classes])],
        [
            numpy_helper.from_array(np.array([value], np.int64), name)
            for name, value in (("start", 0), ("end", classes), ("axis", 1))
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()
    providers = [(name, {**options, "enable_cuda_graph": "1"}) for name, options in DEVICES["cuda"].providers.items()]
    thread = DeviceThread()
    session = thread.call(lambda: onnxruntime.InferenceSession(model, providers=providers, enable_fallback=0))
    options = run_options(-1)

    def plain(images):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return session.run([manifest.output.name], {manifest.input.name: images}, options)[0]

    fixed = FixedBatches(session, manifest, LARGEST, Memory("cuda", graphs=True), plain, thread.call)
    images = np.zeros((LARGEST, *shape), manifest.input.dtype)
    for count in range(1, LARGEST + 1):
        assert fixed.run(images[:count]).shape == (count, classes)
    sizes = ", ".join(map(str, fixed.padded))
    print(f"\nCopies of 1 to {LARGEST} images ran; buffers of {sizes}; captured and replayed as follows:", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
