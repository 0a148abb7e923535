"""`benchmarks.cpu`: contenders run in turn in their own processes; times of a profile are summed by kind of node."""

from pathlib import Path

import pytest

from benchmarks.cpu import main
from benchmarks.cpu_profile import Kind, profile
from benchmarks.cpu_turns import take_turns


@pytest.mark.slow
def test_each_run_except_the_first_of_a_batch_is_timed_and_the_process_ends(tmp_path: Path) -> None:
    found = take_turns(["fp32"], "", tmp_path, threads=1, runs={1: 2, 8: 1})["fp32"]
    assert {batch: len(times) for batch, times in found.times.items()} == {1: 2, 8: 1}
    assert all(wall > 0 and cpu > 0 for times in found.times.values() for wall, cpu in times)
    assert found.wall(1) == pytest.approx(sum(wall for wall, _ in found.times[1]) / 2)
    assert found.cpu(8) == found.times[8][0][1]
    assert found.process.returncode == 0


@pytest.mark.slow
def test_a_contender_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"posbake, OpenVINO fp32 ended with status 1; .* --without"):
        take_turns(["posbake, OpenVINO fp32"], "missing", tmp_path, threads=1, runs={1: 1})


@pytest.mark.parametrize("batch", [1, 8])
def test_a_profile_lists_an_artifacts_matrix_products_by_kernel(digits_repository: Path, batch: int) -> None:
    kinds = profile(digits_repository / "digits/none/1", batch, runs=2, threads=1)
    products = [kind for kind in kinds if kind.operator == "FullyConnected"]
    assert sum(kind.nodes for kind in products) > 8
    # The precision in which the service runs this artifact.
    assert all(kind.kernel.endswith("_f32") for kind in products)
    assert [kind.milliseconds for kind in kinds] == sorted((kind.milliseconds for kind in kinds), reverse=True)
    assert all(isinstance(kind, Kind) and kind.milliseconds > 0 for kind in kinds)


@pytest.mark.parametrize("wrong", ["swin", "swin:fp8:1", "swin:int8:", "swin:int8:one"])
def test_a_profile_without_a_valid_precision_or_batch_is_a_usage_error(
    wrong: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["cpu", "--artifacts", str(tmp_path), "--profile", wrong])
    with pytest.raises(SystemExit):
        main()
    assert "expected NETWORK:PRECISION:BATCH" in capsys.readouterr().err
