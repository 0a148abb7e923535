"""The task of an artifact: from --task, the source, the final activation and the number of outputs."""

import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from artifact import Activation, Preprocess, Task
from export.pipeline import Exported, ExportRequest, export_onnx
from export.process.errors import ExportError
from export.verify.reference import Reference
from export.verify.task import decide_task
from models.sources import Pretrained, RandomWeights
from models.sources.base import Overrides, SourceError
from models.sources.transformers import load

pytestmark = pytest.mark.slow

HALF = (0.5, 0.5, 0.5)
PREPARED = Preprocess(resize=(16, 16), interpolation="bicubic", mean=HALF, std=HALF)


class Ending(nn.Module):
    """A small network followed by a function of its outputs."""

    def __init__(self, outputs: int, end: Any) -> None:  # noqa: ANN401 -- a function of a tensor
        super().__init__()
        torch.manual_seed(3)
        self.patch, self.head, self.end = nn.Conv2d(3, 8, 8, 8), nn.Linear(8, outputs), end

    def forward(self, image: Tensor) -> Tensor:
        result: Tensor = self.end(self.head(self.patch(image).flatten(2).mean(2)))
        return result


def prepared(end: Any, outputs: int = 5) -> tuple[nn.Module, Preprocess]:  # noqa: ANN401
    return Ending(outputs, end).eval(), PREPARED


def plain() -> tuple[nn.Module, Preprocess]:
    return prepared(nn.Identity())


def one_output() -> tuple[nn.Module, Preprocess]:
    return prepared(nn.Identity(), 1)


def final_sigmoid() -> tuple[nn.Module, Preprocess]:
    return prepared(lambda x: torch.sigmoid(x).clamp(1e-6, 1 - 1e-6))


def two_sigmoids() -> tuple[nn.Module, Preprocess]:
    return prepared(lambda x: torch.cat([x[:, :2].sigmoid(), x[:, 2:].sigmoid()], dim=1))


def sigmoid_within() -> tuple[nn.Module, Preprocess]:
    return prepared(lambda x: x.sigmoid() * 10 - 5)


def softmax_by_hand() -> tuple[nn.Module, Preprocess]:
    return prepared(lambda x: x.exp() / x.exp().sum(dim=1, keepdim=True))


def export(function: str, output: Path, **options: Any) -> Exported:  # noqa: ANN401
    return export_onnx(
        ExportRequest(source=f"python:{__name__}:{function}", weights=Pretrained(), output=output, **options)
    )


@pytest.mark.parametrize(
    ("function", "task", "activation"),
    [
        ("plain", "single-label", "none"),
        ("one_output", "regression", "none"),
        ("two_sigmoids", "multi-label", "sigmoid"),
        ("sigmoid_within", "single-label", "none"),
        ("softmax_by_hand", "single-label", "softmax"),
    ],
)
def test_task_and_activation_follow_from_the_network(
    function: str, task: Task, activation: Activation, tmp_path: Path
) -> None:
    manifest = export(function, tmp_path).manifest
    assert (manifest.task, manifest.output.activation) == (task, activation)
    assert manifest.parity.max_rel_error <= manifest.parity.tolerance
    assert manifest.parity.top1_agreement == 1


def test_the_flag_sets_the_task_and_a_byte_order_mark_is_not_part_of_the_first_label(
    tmp_path: Path,
) -> None:
    file = tmp_path / "labels.txt"
    file.write_bytes(b"\xef\xbb\xbfone\ntwo\nthree\nfour\nfive\n")
    exported = export("plain", tmp_path / "out", labels=file, task="multi-label")
    assert exported.manifest.task == "multi-label"
    assert json.loads((exported.path / "manifest.json").read_text())["task"] == "multi-label"
    assert (exported.path / "labels.txt").read_text() == "one\ntwo\nthree\nfour\nfive\n"


@pytest.mark.parametrize(
    ("function", "task", "reason"),
    [
        ("final_sigmoid", "single-label", "ends in a sigmoid"),
    ],
)
def test_a_flag_that_the_network_contradicts_is_an_error_and_nothing_is_written(
    function: str, task: Task, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=f"--task is {task}, but the network {reason}"):
        export(function, tmp_path, task=task)
    assert list(tmp_path.iterdir()) == []


def test_a_flag_that_the_configuration_contradicts_is_an_error() -> None:
    with pytest.raises(ExportError, match=r"--task is multi-label, but problem_type .* is regression"):
        decide_task("multi-label", "regression", "none", 3)
    with pytest.raises(
        ExportError, match=r"problem_type in the network's configuration is single-label, but .* one output"
    ):
        decide_task(None, "single-label", "none", 1)
    with pytest.raises(ExportError, match="--task is regression, but the network ends in a softmax"):
        decide_task("regression", None, "softmax", 3)
    with pytest.raises(ExportError, match="--task is single-label, but the network has one output"):
        decide_task("single-label", None, "none", 1)
    with pytest.raises(ExportError, match="--task is multi-label, but the network ends in a softmax"):
        decide_task("multi-label", None, "softmax", 3)
    assert decide_task(None, None, "sigmoid", 1) == "multi-label"
    assert decide_task("multi-label", None, "none", 1) == "multi-label"
    assert decide_task("regression", None, "sigmoid", 2) == "regression"
    assert decide_task(None, "multi-label", "none", 1) == "multi-label"


def test_a_regression_is_refused_in_lower_precision(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="do not apply to regression; use fp32"):
        export("one_output", tmp_path, precision="fp16")


def test_a_multi_label_graph_in_half_precision_agrees_on_the_classes_that_apply(tmp_path: Path) -> None:
    manifest = export("final_sigmoid", tmp_path, precision="fp16").manifest
    assert (manifest.task, manifest.output.activation) == ("multi-label", "sigmoid")
    assert manifest.parity.top1_agreement == 1


def test_multi_label_agreement_requires_the_same_set_of_classes() -> None:
    expected, found = np.array([[1.0, -1.0, 2.0], [3.0, 1.0, -1.0]]), np.array([[1.0, -1.0, 3.0], [3.0, -1.0, -1.0]])
    assert Reference((), None, expected, "").agreement(found) == 1  # type: ignore[arg-type]
    found[0, 0] = 4
    single = Reference((), None, expected, "")  # type: ignore[arg-type]
    assert single.agreement(found) == 0.5
    several = Reference((), None, expected, "", 0.0)  # type: ignore[arg-type]
    assert several.agreement(found) == 0.5  # only the first image agrees
    assert several.agreement(expected) == 1
    assert Reference((), None, expected, "", 2.5).agreement(found) == 0.5  # type: ignore[arg-type]  # only the second agrees


@pytest.mark.parametrize(
    ("problem_type", "task"),
    [
        ("multi_label_classification", "multi-label"),
        ("regression", "regression"),
        ("single_label_classification", "single-label"),
        (None, None),
    ],
)
def test_a_configuration_of_transformers_declares_the_task(
    problem_type: str | None, task: Task | None, tmp_path: Path
) -> None:
    folder = save_vit(tmp_path / "net", problem_type, 3)
    assert load(str(folder), RandomWeights(0), Overrides()).task == task


def test_the_task_declared_by_transformers_is_in_the_manifest(tmp_path: Path) -> None:
    folder = save_vit(tmp_path / "net", "multi_label_classification", 3)
    given = ExportRequest(f"transformers:{folder}", Pretrained(), tmp_path / "out", model="net", variant="net")
    assert export_onnx(given).manifest.task == "multi-label"


def test_an_unknown_problem_type_is_named(tmp_path: Path) -> None:
    folder = save_vit(tmp_path / "net", None, 3)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "problem_type": "ranking"}))
    with pytest.raises(SourceError, match="ranking"):
        load(str(folder), RandomWeights(0), Overrides())


def save_vit(folder: Path, problem_type: str | None, outputs: int) -> Path:
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    given: dict[str, Any] = {
        "image_size": 32,
        "patch_size": 8,
        "hidden_size": 24,
        "num_attention_heads": 3,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_labels": outputs,
        "problem_type": problem_type,
    }
    config = ViTConfig(**given)
    torch.manual_seed(0)
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("labels", "flaw"),
    [("a\nb\x1bc\nd\ne\nf", "label 1 .'b.*x1bc'. contains U.001B"), ("a\nb\nc\td\ne\nf", "label 2 .* contains U.0009")],
)
def test_a_label_with_a_control_character_fails_before_any_work(labels: str, flaw: str, tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text(labels)
    steps: list[str] = []

    def step(name: str) -> AbstractContextManager[object]:
        steps.append(name)
        return nullcontext()

    request = ExportRequest(
        source=f"python:{__name__}:plain", weights=Pretrained(), output=tmp_path / "out", labels=file
    )
    with pytest.raises(ExportError, match=f"{flaw}.*correct the file"):
        export_onnx(request, step)
    assert steps == ["load"]
    assert not (tmp_path / "out").exists()


def test_a_configuration_with_a_line_break_in_a_label_fails_naming_the_label(tmp_path: Path) -> None:
    folder = save_vit(tmp_path / "net", None, 3)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "id2label": {"0": "a", "1": "b\nc", "2": "d"}}))
    with pytest.raises(ExportError, match=r"label 1 \('b.nc'\) contains U\+000A, .* in the labels of transformers:net"):
        export_onnx(ExportRequest(source=f"transformers:{folder}", weights=Pretrained(), output=tmp_path / "out"))
