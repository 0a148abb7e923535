"""Empty options are usage errors, not omitted options."""

from pathlib import Path

import pytest

from export import audit, to_onnx

NAMES = ("--model", "--variant", "--labels", "--checkpoint", "--output", "--config", "--calibration")


@pytest.mark.parametrize("option", [*NAMES, "SOURCE"])
@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_option_of_an_export_is_a_usage_error(
    option: str, empty: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["timm:vit_tiny_patch16_224", "--output", str(tmp_path)]
    arguments = [empty, *given[1:]] if option == "SOURCE" else [*given, option, empty]
    with pytest.raises(SystemExit) as ended:
        to_onnx.main(arguments)
    assert ended.value.code == 2
    assert f"argument {option}: empty; omit the option" in capsys.readouterr().err


def test_an_empty_file_of_an_audit_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        audit.main([""])
    assert ended.value.code == 2
    assert "empty; omit the option" in capsys.readouterr().err
