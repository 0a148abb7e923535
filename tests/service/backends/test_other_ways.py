"""Fallback: artifacts that one backend refuses run on another if the settings allow it, and the log states why."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from artifact import read_artifact
from service import backends
from service.catalogue.catalogue import Catalogue
from service.catalogue.loading import load_catalogue
from service.problems.errors import GraphError
from service.settings import Settings
from tests.artifact.golden import LIMITS
from tests.service.artifacts import WEIGHTS, add_artifact
from tests.service.backends.test_golden import PIXELS, add
from tests.service.backends.test_openvino import has_bf16
from tests.service.hostile_graphs import loop_of_three
from tests.service.test_hostile_artifacts import OpeningBackend

pytestmark = pytest.mark.slow

LOGITS = PIXELS.astype(np.float64).mean(axis=(1, 2)) @ WEIGHTS.astype(np.float64)


@contextmanager
def catalogue(repository: Path, backend: str = "auto", precision: str = "fp32") -> Iterator[Catalogue]:
    loaded = load_catalogue(
        Settings(repository=repository, backend=backend, device="cpu", threads=2, cpu_precision=precision)
    )
    try:
        yield loaded
    finally:
        loaded.close()


def running(loaded: Catalogue) -> dict[str, str]:
    """Return backend and precision by variant."""
    return {found.key.variant: f"{found.backend.name} in {found.backend.precision}" for found in loaded.servables()}


def test_auto_falls_back_to_onnx_runtime_and_logs_the_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for variant in ("a", "b"):
        add_artifact(tmp_path, variant=variant)
    loop_of_three(tmp_path / "colours/b/1")
    caplog.set_level("INFO")
    with catalogue(tmp_path) as loaded:
        assert running(loaded) == {"a": "openvino-cpu in fp32", "b": "onnxruntime-cpu in fp32"}
        a, b = (found.backend.current().run(PIXELS) for found in loaded.servables())
        np.testing.assert_allclose(a, LOGITS, rtol=1e-5)
        np.testing.assert_allclose(b, PIXELS.mean(axis=(1, 2)) @ np.eye(3, 4) + 3, rtol=1e-5)
    (line,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert line.startswith("artifact colours/b/1: OpenVINO does not run logits here: a Loop cannot be interrupted")
    assert line.endswith("; trying onnxruntime in fp32")
    assert "serving artifact colours/b/1 on onnxruntime-cpu in fp32" in caplog.text


def test_a_named_openvino_refuses_unsupported_artifacts(tmp_path: Path) -> None:
    for variant in ("a", "b"):
        add_artifact(tmp_path, variant=variant)
    loop_of_three(tmp_path / "colours/b/1")
    with catalogue(tmp_path, "openvino") as loaded:
        assert running(loaded) == {"a": "openvino-cpu in fp32"}
        (refused,) = loaded.refused
        assert refused.reason.startswith("OpenVINO does not run logits here: a Loop")


def test_auto_falls_back_from_a_runtime_that_fails_in_the_server_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(backends.BACKENDS, "openvino", ("tests.service.test_hostile_artifacts", "OpeningBackend"))
    monkeypatch.setattr(OpeningBackend, "fails", {"b": GraphError("it has no kernel")})
    for variant in ("a", "b"):
        add_artifact(tmp_path, variant=variant)
    with catalogue(tmp_path) as loaded:
        assert running(loaded) == {"a": "scripted-paper in fp32", "b": "onnxruntime-cpu in fp32"}


def test_precision_auto_is_bf16_if_the_golden_check_passes_in_bf16(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    add(tmp_path, "good")
    add(tmp_path, "narrow", limits={**LIMITS, "bf16": 1e-5})
    add_artifact(tmp_path, variant="unchecked")
    with catalogue(tmp_path, precision="auto") as loaded:
        assert running(loaded) == {
            "good": f"openvino-cpu in {'bf16' if has_bf16() else 'fp32'}",
            "narrow": "openvino-cpu in fp32",
            "unchecked": "openvino-cpu in fp32",
        }
    reason = "the limit is 1.0e-05 for bf16" if has_bf16() else "this CPU has no bfloat16 instructions"
    (line,) = (record.getMessage() for record in caplog.records if "colours/narrow/1: " in record.getMessage())
    assert reason in line
    assert line.endswith("trying openvino in fp32")


def test_a_named_bf16_has_no_fallback(tmp_path: Path) -> None:
    add(tmp_path, "good")
    add(tmp_path, "narrow", limits={**LIMITS, "bf16": 1e-5})
    if not has_bf16():
        pytest.skip("this CPU has no bfloat16 instructions")
    with catalogue(tmp_path, precision="bf16") as loaded:
        assert running(loaded) == {"good": "openvino-cpu in bf16"}
        (refused,) = loaded.refused
        assert "ONNX Runtime has no bf16 on the CPU" in refused.reason


def test_an_exported_golden_file_has_limits_for_fp32_and_bf16(digits_repository: Path) -> None:
    golden = read_artifact(digits_repository / "digits/rope/1").manifest.golden
    assert golden is not None
    assert {"fp32", "bf16"} <= {str(name) for name in golden.limits}
