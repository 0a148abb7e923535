"""The command `export/to_onnx.py`: results, exit statuses, and a repository unchanged by failures."""

import argparse
import json
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from artifact import read_artifact
from artifact.hashing import describe_file
from export.check import main as check
from export.process.arguments import option
from export.to_onnx import main
from export.write.draft import digest
from tests.conftest import DIGITS
from tests.export.graphs import save_wrong_graph

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("shared_traces")]

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "export" / "to_onnx.py"
SWIN = f"posbake:{DIGITS / 'configs' / 'swin-table.json'}"
LEARNED = f"posbake:{DIGITS / 'configs' / 'learned.json'}"
SINCOS = f"posbake:{DIGITS / 'configs' / 'sincos.json'}"
CHECKPOINTS = DIGITS / "checkpoints"


@pytest.fixture(scope="module")
def shallow(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the source of the digits variant `sincos` with one block, for tests that need no particular network."""
    config = json.loads((DIGITS / "configs" / "sincos.json").read_text())
    config["network"]["depth"] = 1
    file = tmp_path_factory.mktemp("shallow") / "sincos.json"
    file.write_text(json.dumps(config))
    return f"posbake:{file}"


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )


def test_the_script_runs_from_any_directory_and_prints_json(shallow: str, tmp_path: Path) -> None:
    done = run(shallow, "--random-weights", "7", "--output", "here", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["path"] == "here/digits/sincos/1"
    artifact = read_artifact(tmp_path / result["path"])
    assert result["manifest"] == json.loads((artifact.path / "manifest.json").read_text())
    assert artifact.manifest.source.seed == 7
    assert artifact.manifest.accuracy is None
    assert artifact.labels == tuple("0123456789")
    assert str(ROOT).encode() not in artifact.graph.read_bytes()  # no path of the exporting machine


def test_help_and_usage_errors_need_no_torch(tmp_path: Path) -> None:
    helped = run("--help", cwd=tmp_path)
    assert helped.returncode == 0
    assert "--random-weights" in helped.stdout
    for wrong in (
        ["--output", "x"],
        [SWIN],
        [SWIN, "--output", "x", "--batch", "4:2"],
        [SWIN, "--output", "x", "--opset", "9"],
    ):
        assert run(*wrong, cwd=tmp_path).returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_a_terminal_table_summarises_the_artifact(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = str(CHECKPOINTS / "learned.safetensors")
    assert main([LEARNED, "--checkpoint", checkpoint, "--output", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    for word in (
        "parity",
        "0 constant-only nodes, 0 gathers from a table",
        "accuracy",
        "chains of data movement rewritten",
        str(tmp_path / "digits" / "learned" / "1"),
    ):
        assert word in shown


FAILURES = {
    "no weights": ([LEARNED], ["--checkpoint", "--pretrained", "--random-weights SEED"]),
    "weights of another encoding": (
        [LEARNED, "--checkpoint", str(CHECKPOINTS / "irpe-product-contextual-k.safetensors")],
        ["missing: position.table", "unexpected: blocks.0.attention.encoding.k.product.table", "configuration"],
    ),
    "a missing checkpoint": (
        [LEARNED, "--checkpoint", "none.safetensors"],
        ["no checkpoint at none.safetensors"],
    ),
    "an image size that the patch size does not divide": (
        [SWIN, "--random-weights", "0", "--image-size", "31"],
        ["31×31", "multiple of the patch size 2"],
    ),
    "an image size that the window size does not divide": (
        [SWIN, "--random-weights", "0", "--image-size", "40x32"],
        ["window size 4 does not divide", "multiple of 16"],
    ),
    "a window size that does not divide the grid": (
        [SWIN, "--random-weights", "0", "--window-size", "5"],
        ["window size 5 does not divide the 16×16 grid"],
    ),
    "an unknown source": (["timm:swin"], ["no weights given"]),
    "an unknown name": (["posbake:swin_huge", "--random-weights", "0"], ["swin_tiny_patch4_window7_224"]),
    "a name that cannot be a directory": (
        [LEARNED, "--random-weights", "0", "--variant", "../learned"],
        ["'../learned' is not a valid variant name"],
    ),
    "a wrong number of labels": (
        [LEARNED, "--random-weights", "0", "--labels", str(DIGITS / "README.md")],
        ["expected 10"],
    ),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_failure_is_a_sentence_with_the_remedy_and_leaves_no_artifact(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, words = FAILURES[case]
    assert main([*arguments, "--output", str(tmp_path / "repository")]) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    for word in words:
        assert word in message
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_graph_is_never_written(
    shallow: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.pipeline.save_graph", save_wrong_graph)
    assert main([shallow, "--random-weights", "0", "--output", str(tmp_path / "repository")]) == 1
    assert "off by" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_has_its_own_exit_status_and_leaves_nothing(
    shallow: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("export.pipeline.check_parity", interrupt)  # the graph is on the disk by then
    assert main([shallow, "--random-weights", "0", "--output", str(tmp_path / "repository")]) == 130
    assert "nothing was written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_next_version_is_used_and_an_old_one_is_never_overwritten(
    shallow: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [shallow, "--random-weights", "0", "--output", str(tmp_path), "--quiet"]
    assert main(arguments) == 0
    first = (tmp_path / "digits" / "sincos" / "1" / "manifest.json").read_text()
    assert main([*arguments, "--random-weights", "1"]) == 0
    assert main([*arguments, "--version", "1"]) == 1
    assert "already exists" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "digits" / "sincos").iterdir()) == ["1", "2"]
    assert (tmp_path / "digits" / "sincos" / "1" / "manifest.json").read_text() == first


def test_the_user_chooses_identity_batch_and_input(shallow: str, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(f"digit {digit}" for digit in range(10)).encode())
    identity = ["--model", "ziffern", "--variant", "v.1", "--version", "3", "--labels", str(labels)]
    form = ["--input", "float32", "--batch", "2:5", "--opset", "23"]
    assert main([shallow, "--random-weights", "0", "--output", str(tmp_path), "--quiet", *identity, *form]) == 0
    artifact = read_artifact(tmp_path / "ziffern" / "v.1" / "3")
    manifest = artifact.manifest
    assert (artifact.labels[0], artifact.labels[3]) == ("digit 0", "digit 3")  # without the byte order mark
    assert (manifest.input.dtype, manifest.input.layout) == ("float32", "NCHW")
    assert (manifest.input.batch.min, manifest.input.batch.max) == (2, 5)
    assert manifest.parity.batches == (2, 3)
    assert manifest.graph.opset == 23
    session = ort.InferenceSession(artifact.graph, providers=["CPUExecutionProvider"])
    assert session.run(None, {"image": np.zeros((5, 3, 32, 32), np.float32)})[0].shape == (5, 10)
    assert artifact.manifest.golden is not None
    assert (
        tmp_path / "ziffern" / "v.1" / "3" / artifact.manifest.golden.file
    ).stat().st_size < 14_000  # stored as uint8
    assert check([str(artifact.path), "--quiet"]) == 0


@pytest.mark.parametrize("row", ["{},digit {}", "{}\tdigit {}", '"{}";"digit {}"', "{}: digit {}"])
def test_numbered_labels_are_refused(row: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(row.format(digit, digit) for digit in range(10)))
    arguments = [SWIN, "--random-weights", "0", "--output", str(tmp_path), "--quiet", "--labels", str(labels)]
    assert main(arguments) == 1
    assert "numbers its labels, as in" in capsys.readouterr().err


def test_another_image_size_is_exported_with_its_own_preprocessing(shallow: str, tmp_path: Path) -> None:
    assert main([shallow, "--random-weights", "0", "--image-size", "48x40", "--output", str(tmp_path), "--quiet"]) == 0
    manifest = read_artifact(tmp_path / "digits" / "sincos" / "1").manifest
    assert (manifest.input.height, manifest.input.width) == manifest.preprocess.size == (48, 40)


def test_a_trained_network_at_another_size_is_resampled_with_a_note_in_the_manifest(tmp_path: Path) -> None:
    checkpoint = str(CHECKPOINTS / "learned.safetensors")
    arguments = [LEARNED, "--checkpoint", checkpoint, "--image-size", "40", "--output", str(tmp_path), "--quiet"]
    assert main(arguments) == 0
    manifest = read_artifact(tmp_path / "digits" / "learned" / "1").manifest
    assert manifest.resampled == ("position embedding from 8×8 to 10×10 tokens, bicubic with antialiasing",)
    assert manifest.accuracy is None  # it was measured at another size
    assert manifest.parity.max_rel_error <= 1e-5


def test_a_timm_network_is_exported_with_timms_preprocessing_and_labels(tmp_path: Path) -> None:
    source = ["timm:deit_tiny_patch16_224", "--random-weights", "0", "--batch", "2:3", "--model-arg", "depth=1"]
    assert main([*source, "--output", str(tmp_path), "--quiet"]) == 0
    artifact = read_artifact(tmp_path / "deit_tiny_patch16_224" / "learned" / "1")
    manifest = artifact.manifest
    assert (manifest.source.name, manifest.encoding) == ("timm:deit_tiny_patch16_224", "learned")
    assert (manifest.preprocess.resize, manifest.preprocess.crop) == (248, (224, 224))
    assert "tench" in artifact.labels[0]
    assert "timm" in manifest.tools
    assert (manifest.graph.constant_only_nodes, manifest.graph.table_gathers) == (0, 0)


def test_notes_on_the_weights_are_recorded_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = load_file(CHECKPOINTS / "sincos.safetensors")
    average = {f"module.{key}": tensor for key, tensor in state.items()}
    raw = {key: torch.zeros_like(tensor) for key, tensor in state.items()}
    torch.save({"state_dict": raw, "state_dict_ema": average, "epoch": 3}, tmp_path / "last.ckpt")
    assert main([SINCOS, "--checkpoint", str(tmp_path / "last.ckpt"), "--output", str(tmp_path)]) == 0
    manifest = read_artifact(tmp_path / "digits" / "sincos" / "1").manifest
    assert manifest.notes == (
        "took state_dict_ema, averaged over training steps, not state_dict (--weights-key chooses)",
        "dropped the prefix module. of every key",
    )
    shown = " ".join(capsys.readouterr().out.split())
    assert all(note in shown for note in manifest.notes)


def test_constructor_options_are_json_or_a_word() -> None:
    given = ["a=avg", "b=false", "c=False", "d=[1, 2]", "e=1e-5", 'f="two words"', "g=null"]
    assert dict(map(option, given)) == {
        "a": "avg",
        "b": False,
        "c": False,
        "d": [1, 2],
        "e": 1e-5,
        "f": "two words",
        "g": None,
    }
    for wrong in ("a", "=1", "a=two words", "a=(1, 2)"):
        with pytest.raises(argparse.ArgumentTypeError):
            option(wrong)


def test_a_key_without_a_checkpoint_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([SINCOS, "--random-weights", "0", "--weights-key", "ema", "--output", str(tmp_path)]) == 1
    assert "--weights-key selects weights in --checkpoint FILE" in capsys.readouterr().err


def test_training_size_and_model_arguments_are_applied(tmp_path: Path) -> None:
    options: dict[str, Any] = {"depth": 1, "embed_dim": 48, "num_heads": 3}
    network = timm.create_model("vit_tiny_patch16_224", num_classes=3, img_size=(32, 64), **options)
    torch.save({"net": network.state_dict()}, tmp_path / "model_best.pth.tar")
    arguments = ["timm:vit_tiny_patch16_224", "--checkpoint", str(tmp_path / "model_best.pth.tar"), "--quiet"]
    arguments += [part for key, value in options.items() for part in ("--model-arg", f"{key}={value}")]
    arguments += ["--trained-image-size", "32x64", "--image-size", "32", "--output", str(tmp_path)]
    assert main(arguments) == 0
    manifest = read_artifact(tmp_path / "vit_tiny_patch16_224" / "learned" / "1").manifest
    assert (manifest.input.height, manifest.input.width) == (32, 32)
    assert manifest.resampled == ("position embedding from 2×4 to 2×2 tokens, bicubic with antialiasing",)


def test_the_digest_of_a_sharded_checkpoint_covers_every_shard(tmp_path: Path) -> None:
    state = load_file(CHECKPOINTS / "sincos.safetensors")
    save_file(state, tmp_path / "only.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(state, "only.safetensors")}))
    first = digest(index)
    save_file(state | {"head.bias": state["head.bias"] + 1}, tmp_path / "only.safetensors")
    assert digest(index) != first
    assert digest(tmp_path / "only.safetensors") == describe_file(tmp_path / "only.safetensors").sha256


def test_no_module_of_export_shadows_a_library() -> None:
    """`python export/to_onnx.py` puts export/ first on sys.path, before libraries of the same name."""
    taken = sys.stdlib_module_names | {name for name in packages_distributions() if name != "export"}
    assert {path.stem for path in (ROOT / "export").iterdir()}.isdisjoint(taken - {"__pycache__"})
