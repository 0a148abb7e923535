"""A manifest's list of rewrites: equal lines are merged, their number is bounded, and they agree with the graph."""

from pathlib import Path

import pytest

from artifact import Rewrite, read_artifact
from export.passes.movement import Rewritten
from export.passes.summary import MOST_CHARACTERS, MOST_LINES, summarise
from export.passes.sweep import Declined


def chain(module: str, before: str, after: tuple[str, ...], reason: str = "") -> Rewritten:
    return Rewritten(module, tuple(before.split()), after, reason)


def test_equal_chains_of_several_blocks_are_one_line() -> None:
    moved = [chain(f"layers.{i}.blocks.1.attn", "Slice Slice Concat Reshape", ("Gather",)) for i in range(12)]
    rewrites = summarise(moved, [])
    line = Rewrite(module="layers.*.blocks.*.attn", before="Slice ×2, Concat, Reshape", after="Gather", count=12)
    assert (rewrites.lines, rewrites.rewritten, rewrites.declined) == ((line,), 12, 0)


def test_chains_that_became_different_steps_are_different_lines() -> None:
    moved = [chain("blocks.0", "Reshape Transpose", ("Gather",)), chain("blocks.1", "Reshape Transpose", ("Reshape",))]
    assert {line.after for line in summarise(moved, []).lines} == {"Gather", "Reshape"}


def test_tensors_produced_by_the_same_steps_are_counted() -> None:
    (line,) = summarise([chain("attn", "Split Transpose", ("Slice", "Slice", "Transpose"))], []).lines
    assert line.after == "Slice (×2); Transpose"


def test_a_declined_rewrite_keeps_its_reason() -> None:
    folds = [Declined("Add", f"blocks.{i}.attn", "Softmax reads it") for i in range(3)]
    rewrites = summarise([chain("neck", "Reshape Transpose", ("Reshape, Transpose",), "no cheaper plan")], folds)
    assert [(line.before, line.after, line.reason, line.count) for line in rewrites.lines] == [
        ("Add", None, "Softmax reads it", 3),
        ("Reshape, Transpose", None, "no cheaper plan", 1),
    ]
    assert (rewrites.rewritten, rewrites.declined) == (0, 4)


@pytest.mark.parametrize(("after", "lines"), [(("Reshape",), 0), (("nothing",), 1)])
def test_a_single_kept_operator_is_not_a_chain(after: tuple[str, ...], lines: int) -> None:
    assert len(summarise([chain("head", "Reshape", after)], []).lines) == lines


def test_numbers_outside_module_paths_are_kept() -> None:
    (line,) = summarise([], [Declined("Add", "stage.3", "its constant has 49.5 kB in blocks.7: too large")]).lines
    assert (line.module, line.reason) == ("stage.*", "its constant has 49.5 kB in blocks.*: too large")


def test_lines_are_short_and_few_with_the_most_frequent_first_and_the_rest_counted() -> None:
    names = [f"part{'abcdefghij'[i % 10]}{'x' * (i // 10)}" for i in range(MOST_LINES + 6)]
    moved = [chain(name, "Slice Concat " * 200, ("Gather",)) for name in names]
    often = [chain("often", "Reshape Transpose", ("Transpose",))] * 2
    rewrites = summarise(moved + often, [])
    assert rewrites.lines[0].module == "often"
    assert (len(rewrites.lines), rewrites.omitted, rewrites.rewritten) == (MOST_LINES, 7, MOST_LINES + 8)
    assert max(len(line.before) for line in rewrites.lines) == MOST_CHARACTERS
    assert len(rewrites.model_dump_json()) < 8192


def test_a_windowed_network_lists_shifts_as_gathers_and_declined_folds(digits_repository: Path) -> None:
    manifest = read_artifact(digits_repository / "digits" / "swin-table" / "1").manifest
    assert manifest.rewrites is not None
    assert any("Gather" in (line.after or "") and "Slice" in line.before for line in manifest.rewrites.lines)
    assert any("Softmax" in (line.reason or "") for line in manifest.rewrites.lines)
    assert {line.module for line in manifest.rewrites.lines if "blocks" in line.module} != set()
    assert manifest.rewrites.rewritten == sum(line.count for line in manifest.rewrites.lines if line.after)
