"""The reference of parity in table, page and JSON: float64, or float32 with the reason."""

import json
import re
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from artifact import Manifest
from export.pipeline import Exported
from export.report.page import REPORT_NAME
from export.report.terminal import print_report
from export.to_onnx import main
from tests.export.report.reading import Page

pytestmark = pytest.mark.slow


class Linear(nn.Module):
    """A classifier of 4×4 pixels that casts to float32 in places, as many networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(48, 4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(x.flatten(1).float())
        return logits.softmax(-1, dtype=torch.float32)


class Float32Only(Linear):
    """A classifier that refuses every other dtype."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype != torch.float32:
            raise TypeError(f"float32 [is needed], not {x.dtype}")
        return super().forward(x)


def _prepared(network: nn.Module) -> tuple[nn.Module, dict[str, object]]:
    half = (0.5, 0.5, 0.5)
    return network.eval(), {"resize": (4, 4), "interpolation": "bicubic", "mean": half, "std": half}


def any_float() -> tuple[nn.Module, dict[str, object]]:
    return _prepared(Linear())


def float32_only() -> tuple[nn.Module, dict[str, object]]:
    return _prepared(Float32Only())


WHY = "torch float32; in float64 the network fails at batch 1: TypeError: float32 [is needed], not torch.float64"


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize(("function", "reference"), [("any_float", "torch float64"), ("float32_only", WHY)])
def test_the_reference_is_stated_in_json_page_and_table(
    function: str, reference: str, precision: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = [f"python:tests.export.report.test_reference:{function}", "--random-weights", "0", "--report"]
    source += ["--output", str(tmp_path), "--precision", precision]
    assert main([*source, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["manifest"]["parity"]["reference"] == reference
    page = Page((Path(result["path"]) / REPORT_NAME).read_text(encoding="utf-8"))
    assert f" Reference {reference} " in page.text
    print_report(Exported(Path(result["path"]), Manifest.model_validate(result["manifest"]), {}), Console(width=200))
    table = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert f" reference {reference} {'float32 ' if precision == 'fp16' else ''}parity " in table
