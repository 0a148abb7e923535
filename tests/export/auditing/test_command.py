"""`python export/audit.py`: exit statuses, output, damaged files, external data."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from export.audit import main
from export.auditing import Audit, audit, load_model
from tests.export.auditing.graphs import CLEAN, parse
from tests.export.auditing.stock import stock_export

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]


def write(model: ir.Model, path: Path) -> str:
    path.write_bytes(ir.to_proto(model).SerializeToString())
    return str(path)


def model_with_external_data(folder: Path, copies: int = 2) -> Path:
    """Write a model whose equal tables are stored as external data."""
    model = parse(CLEAN)
    for index in range(copies):
        tensor = ir.tensor(np.arange(1000, dtype=np.float32), name=f"table{index}")
        value = ir.Value(name=tensor.name, const_value=tensor)
        model.graph.register_initializer(value)
        model.graph.append(ir.node("Identity", [value]))
    ir.save(model, folder / "model.onnx", external_data="weights.data")
    assert (folder / "weights.data").stat().st_size >= copies * 4000
    return folder / "model.onnx"


@pytest.mark.parametrize("config", ["swin-table", "irpe-product-contextual-k"])
def test_graphs_exported_by_posbake_are_clean(
    config: str, digits_repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(digits_repository / "digits" / config / "1" / "model.onnx")]) == 0
    assert "no findings" in capsys.readouterr().out


def test_a_stock_export_is_flagged_with_the_modules_of_the_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([write(stock_export(), tmp_path / "stock.onnx"), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["clean"] is False
    assert document["opsets"] == {"": 20}
    assert {finding["check"] for finding in document["findings"]} >= {"constant-only", "shape-arithmetic"}
    assert "positions" in {finding.get("scope") for finding in document["findings"]}
    assert all(finding["remedy"] for finding in document["findings"])


def test_the_terminal_shows_a_few_findings_per_check_with_remedies_and_totals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main([write(stock_export(), tmp_path / "stock.onnx")]) == 1
    shown = capsys.readouterr().out
    for words in ("Split", "GatherND", "positions", "more; list all with --json", "fold it", "opset 20", "warning"):
        assert words in shown


def test_quiet_prints_nothing_and_sets_the_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([write(stock_export(), tmp_path / "stock.onnx"), "--quiet"]) == 1
    assert main([write(parse(CLEAN), tmp_path / "clean.onnx"), "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_information_alone_is_clean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = parse(CLEAN, "float[1,4] x", "float[1,4] y")
    assert main([write(model, tmp_path / "fixed.onnx")]) == 0
    assert "the batch is fixed" in capsys.readouterr().out


def test_the_script_runs_from_any_directory(tmp_path: Path) -> None:
    write(parse(CLEAN), tmp_path / "clean.onnx")
    command = [sys.executable, str(ROOT / "export" / "audit.py"), "clean.onnx"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, "no findings" in done.stdout) == (0, True), done.stderr


def test_unsupported_operators_depend_on_the_version_of_tensorrt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(parse("{ y = Attention(x, x, x) }", "float[N,2,4,8] x", opset=23), tmp_path / "attention.onnx")
    assert main([file, "--json"]) == 0
    capsys.readouterr()
    assert main([file, "--json", "--tensorrt", "10.13"]) == 1
    assert "since 10.14" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--help"], 0),
        ([], 2),
        (["clean.onnx", "--tensorrt", "11.0"], 2),
        (["clean.onnx", "--tensorrt", "new"], 2),
        (["clean.onnx", "--jso"], 2),
    ],
)
def test_usage_errors_are_2(arguments: list[str], status: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == status
    captured = capsys.readouterr()
    assert ("Exit status: 0" in captured.out, "usage:" in captured.err) == (status == 0, status == 2)


CLEAN_BYTES = ir.to_proto(parse(CLEAN)).SerializeToString()
DAMAGED = {
    "empty": b"",
    "text": b"this is not a model\n",
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(60),
    "truncated": CLEAN_BYTES[: len(CLEAN_BYTES) // 2],
    "an undefined input": CLEAN_BYTES.replace(b"\x0a\x01a", b"\x0a\x01b"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_file_is_reported_in_one_sentence(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert DAMAGED[case] != CLEAN_BYTES
    file = tmp_path / "model.onnx"
    file.write_bytes(DAMAGED[case])
    assert main([str(file)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert str(file) in captured.err


def test_a_missing_file_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.onnx")]) == 1
    assert "none.onnx: No such file" in capsys.readouterr().err


def test_unsorted_nodes_are_audited_and_a_cycle_is_refused(tmp_path: Path) -> None:
    proto = ir.to_proto(parse(CLEAN))
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend(reversed(nodes))
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    assert main([str(tmp_path / "model.onnx"), "--quiet"]) == 0
    proto.graph.node[1].input[0] = "y"
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    assert main([str(tmp_path / "model.onnx"), "--quiet"]) == 1


def test_external_data_is_compared_too(tmp_path: Path) -> None:
    report = audit(load_model(model_with_external_data(tmp_path)))
    assert Audit.model_validate_json(report.model_dump_json()) == report
    (finding,) = report.of("duplicate")
    assert "stored 2 times, 4000 bytes wasted" in finding.found


@pytest.mark.parametrize("copies", [1, 2])  # with one tensor, no comparison needs its data
@pytest.mark.parametrize("damage", ["missing", "truncated", "symlinked to another directory"])
def test_unreadable_external_data_is_reported_in_one_sentence(
    damage: str, copies: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    model = model_with_external_data(folder, copies)
    data = folder / "weights.data"
    match damage:
        case "missing":
            data.unlink()
        case "truncated":
            os.truncate(data, 100)
        case _:
            data.rename(tmp_path / "elsewhere.data")
            data.symlink_to(tmp_path / "elsewhere.data")
    assert main([str(model)]) == 1
    captured = capsys.readouterr().err
    assert captured.startswith("error: ")
    assert captured.count("\n") == 1
    assert "table0" in captured
    assert "weights.data" in captured


def test_a_tensor_with_too_few_bytes_for_its_shape_is_refused(tmp_path: Path) -> None:
    proto = ir.to_proto(parse(CLEAN))
    tensor = proto.graph.initializer[0]
    tensor.CopyFrom(onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[4], raw_data=b"\0" * 12))
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    assert main([str(tmp_path / "model.onnx"), "--quiet"]) == 1


@pytest.mark.parametrize("location", ["../weights.data", "/dev/zero", "a/../../weights.data"])
def test_external_data_outside_the_models_directory_is_refused(
    location: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path = model_with_external_data(folder)
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(model.SerializeToString())
    assert main([str(path)]) == 1
    captured = capsys.readouterr().err
    assert "outside the model's directory" in captured
    assert "is missing" not in captured


def test_the_time_of_an_audit_is_proportional_to_the_nodes(tmp_path: Path) -> None:
    def seconds(nodes: int) -> float:
        body = "".join(f"v{number + 1} = Relu(v{number}) " for number in range(nodes))
        path = write(parse(f"{{ {body} }}", "float[N,4] v0", f"float[N,4] v{nodes}"), tmp_path / f"{nodes}.onnx")
        start = time.process_time()
        assert main([path, "--quiet"]) == 0
        return time.process_time() - start

    seconds(10)  # imports
    assert seconds(8000) < 10 * max(seconds(2000), 0.1)
