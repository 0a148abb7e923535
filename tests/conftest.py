"""What more than one package of tests uses."""

from pathlib import Path

import pytest

from export.to_onnx import main

DIGITS = Path(__file__).parents[1] / "examples" / "digits"
VARIANTS = sorted(file.stem for file in (DIGITS / "configs").glob("*.json"))


@pytest.fixture(scope="session")
def digits_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with every shipped variant of the digits model, exported as `make demo` does."""
    repository = tmp_path_factory.mktemp("digits")
    for variant in VARIANTS:
        source = f"posbake:{DIGITS / 'configs' / variant}.json"
        checkpoint = DIGITS / "checkpoints" / f"{variant}.safetensors"
        assert main([source, "--checkpoint", str(checkpoint), "--output", str(repository), "--quiet"]) == 0
    return repository
