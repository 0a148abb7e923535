"""Constants stored as files: the numbers of the graph, verified grids, and the limit on bytes."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from artifact import read_artifact
from examples.digits.export import VARIANTS
from export.report.constants import find_constants
from export.report.stored import grid_of, spans_of, store_constants

GENERATOR = np.random.default_rng(0)


def relative_bias(grid: tuple[int, int], extra: int = 0, heads: int = 2) -> NDArray[np.float32]:
    """Return a bias that depends on the offset between tokens; extra tokens have random entries."""
    height, width = grid
    tokens = [(row, column) for row in range(height) for column in range(width)]
    table = GENERATOR.normal(size=(heads, 2 * height, 2 * width)).astype(np.float32)
    bias = GENERATOR.normal(size=(heads, extra + len(tokens), extra + len(tokens))).astype(np.float32)
    for head in range(heads):
        for i, (row, column) in enumerate(tokens):
            for j, (other_row, other_column) in enumerate(tokens):
                bias[head, extra + i, extra + j] = table[head, row - other_row, column - other_column]
    return bias


@pytest.mark.parametrize(("grid", "extra"), [((3, 3), 0), ((2, 5), 0), ((5, 2), 1), ((4, 4), 2)])
def test_the_grid_of_a_relative_bias_is_found(grid: tuple[int, int], extra: int) -> None:
    bias = relative_bias(grid, extra)
    assert grid_of(bias) == grid
    bias[1, -1, -2] += 0.01
    assert grid_of(bias) is None


def test_a_bias_without_a_grid_has_none() -> None:
    assert grid_of(np.zeros((2, 16, 16), np.float32)) is None
    assert grid_of(relative_bias((1, 6))) is None
    assert grid_of(GENERATOR.normal(size=(2, 1, 16)).astype(np.float32)) is None


@pytest.mark.parametrize(
    ("grid", "windows", "size", "expected"),
    [
        ((4, 4), 16, (32, 32), (4, 4)),
        ((7, 7), 2, (32, 64), (1, 2)),
        ((2, 4), 2, (32, 32), (2, 1)),
        ((4, 4), 3, (32, 32), None),
    ],
)
def test_windows_cover_the_aspect_ratio_of_the_image(
    grid: tuple[int, int], windows: int, size: tuple[int, int], expected: tuple[int, int] | None
) -> None:
    assert spans_of(grid, windows, size) == expected


@pytest.mark.parametrize("variant", VARIANTS)
def test_files_hold_the_numbers_of_the_graph(digits_repository: Path, variant: str) -> None:
    artifact = read_artifact(digits_repository / "digits" / variant / "1")
    model = ir.load(artifact.graph)
    stored = artifact.manifest.constants
    assert stored is not None
    names = {line.name for line in stored.lines}
    assert {found.name for found in find_constants(model)} <= names
    for line in stored.lines:
        written = np.load(artifact.path / "baked" / f"{line.name}.npy")
        value = model.graph.initializers[line.name].const_value
        assert value is not None
        windows = value.numpy().reshape(-1, *line.shape)
        assert len(windows) == line.windows
        np.testing.assert_array_equal(written, windows[0].astype(np.float16), strict=True)
    if variant == "rope":
        assert {name.rpartition(".")[2] for name in names} == {"cos", "sin"}
    if variant == "swin-table":
        assert [(line.grid, line.spans, line.windows) for line in stored.lines] == [
            ((4, 4), (4, 4), 1),
            ((4, 4), (4, 4), 16),
            ((4, 4), (2, 2), 1),
            ((4, 4), (2, 2), 4),
        ]
    if variant == "beit-table":
        assert {(line.grid, line.spans) for line in stored.lines} == {((8, 8), (1, 1))}


def test_constants_beyond_the_limit_are_counted(digits_repository: Path, tmp_path: Path) -> None:
    model = ir.load(digits_repository / "digits" / "beit-table" / "1" / "model.onnx")
    stored = store_constants(model, tmp_path / "baked", (32, 32), most=2 * 4 * 64 * 64 * 2 + 1)
    assert (len(stored.lines), stored.omitted) == (2, 1)
    assert len(list((tmp_path / "baked").iterdir())) == 2
