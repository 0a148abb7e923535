"""The option `--target`: the graph of each target, and graphs that TensorRT would refuse."""

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, shape_inference
from PIL import Image

from artifact import read_artifact
from artifact.parts.values import Target
from examples.digits.data import load_split
from export.process.errors import ExportError
from export.to_onnx import main
from export.verify.targets import CHOICES, check_target
from tests.conftest import DIGITS

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("shared_traces")]

LEARNED = f"posbake:{DIGITS / 'configs' / 'learned.json'}"

REFUSED = """
import torch
from torch import nn
from artifact import Preprocess


class Determinants(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 9, 8, 8)

    def forward(self, image):
        rows = self.patches(image).flatten(2).transpose(1, 2)
        return torch.linalg.det(rows.reshape(-1, 4, 3, 3))


def network():
    preprocess = Preprocess(resize=(16, 16), interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3)
    return Determinants(), preprocess
"""


def graph(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 20]> {text}')


def written(folder: Path, text: str) -> Path:
    onnx.save(graph(text), folder / "model.onnx")
    return folder / "model.onnx"


def test_the_target_is_recorded_and_the_graph_is_the_same(tmp_path: Path) -> None:
    made = {}
    for target in ("portable", "tensorrt", "onnxruntime"):
        command = [LEARNED, "--random-weights", "0", "--quiet", "--target", target, "--output", str(tmp_path / target)]
        assert main(command) == 0
        artifact = read_artifact(tmp_path / target / "digits" / "learned" / "1")
        assert artifact.manifest.target == target
        made[target] = artifact.graph.read_bytes()
    assert set(made.values()) == {made["portable"]}


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8"])
def test_attention_is_one_node_for_onnx_runtime_from_opset_23_on(precision: str, tmp_path: Path) -> None:
    command = [LEARNED, "--checkpoint", str(DIGITS / "checkpoints/learned.safetensors"), "--precision", precision]
    if precision == "int8":
        for number, image in enumerate(load_split()[0].images[:32]):
            Image.fromarray(image).save(tmp_path / f"{number}.png")
        command += ["--calibration", str(tmp_path)]
    output = tmp_path / "repository"
    command += ["--target", "onnxruntime", "--opset", "23", "--variant", "one", "--version", "1"]
    assert main([*command, "--quiet", "--output", str(output)]) == 0
    artifact = read_artifact(output / "digits/one/1")
    operators = artifact.manifest.graph.ops
    assert "Softmax" not in operators
    assert operators["Attention"] >= 2
    half = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}.get(precision, TensorProto.FLOAT)
    made = shape_inference.infer_shapes(onnx.load(artifact.graph))
    types = {value.name: value.type.tensor_type.elem_type for value in made.graph.value_info}
    assert {types[node.output[0]] for node in made.graph.node if node.op_type == "Attention"} == {half}


def test_an_unknown_target_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([LEARNED, "--random-weights", "0", "--target", "coreml", "--output", str(tmp_path)])
    assert ended.value.code == 2
    assert "tensorrt" in capsys.readouterr().err


def test_an_operator_that_tensorrt_refuses_fails_for_that_target_only(tmp_path: Path) -> None:
    path = written(tmp_path, "g (float[N,3,3] x) => (float[N] y) { y = Det(x) }")
    others: tuple[Target, ...] = ("portable", "onnxruntime", "openvino")
    for target in others:
        check_target(path, target)
    with pytest.raises(ExportError, match=r"TensorRT \d+\.\d+ does not support this graph: Det.*without --target"):
        check_target(path, "tensorrt")


@pytest.mark.parametrize("target", CHOICES)
def test_operators_of_one_runtime_fail_for_every_target(target: Target, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    imports = '"" : 20, "com.microsoft" : 1'
    text = "g (float[N,4] x) => (float[N,4] y) { y = com.microsoft.QuickGelu(x) }"
    onnx.save(onnx.parser.parse_model(f"<ir_version: 10, opset_import: [{imports}]> {text}"), path)
    with pytest.raises(ExportError, match=r"this graph: QuickGelu.*domain com\.microsoft"):
        check_target(path, target)


def test_warnings_of_the_audit_do_not_fail_the_export(tmp_path: Path) -> None:
    path = written(tmp_path, "g (float[N,4] x) => (float[N,4] y) <float[4] unread = {1, 2, 3, 4}> { y = Relu(x) }")
    check_target(path, "tensorrt")


def test_many_findings_are_abbreviated_and_counted(tmp_path: Path) -> None:
    nodes = " ".join(f"y{i} = Det(x)" for i in range(7))
    path = written(tmp_path, f"g (float[N,3,3] x) => (float[N] y0) {{ {nodes} }}")
    with pytest.raises(ExportError, match="and 2 more: see"):
        check_target(path, "tensorrt")


def test_an_export_that_tensorrt_would_refuse_leaves_no_artifact(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "determinants.py"
    file.write_text(REFUSED)
    command = [f"python:{file}:network", "--random-weights", "0", "--output", str(tmp_path / "out"), "--quiet"]
    assert main([*command, "--target", "tensorrt"]) == 1
    assert "Det" in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("model.onnx"))
    assert main(command) == 0
