"""Keys transposed once, with the windows, and not again after them."""

import numpy as np
import pytest

from export.passes.merge_transposes import MergeTransposes
from tests.export.passes.graphs import graph_of, operators, rewritten

IMAGE = "(float[2,3,4,5] image)"


def text_of(first: str, sizes: str, last: str, *, tail: str = "logits = Neg(c)") -> str:
    return f"""{IMAGE} => (float{sizes} logits) {{
        a = Transpose<perm=[{first}]>(image)
        b = Reshape(a, shape)
        c = Transpose<perm=[{last}]>(b)
        {tail}
    }}"""


@pytest.mark.parametrize(
    ("first", "shape", "last", "sizes"),
    [
        ("1, 0, 2, 3", [6, 4, 5], "0, 2, 1", "[6,5,4]"),
        ("1, 0, 2, 3", [-1, 4, 5], "0, 2, 1", "[6,5,4]"),
        ("2, 0, 1, 3", [4, 2, 1, 3, 5], "0, 1, 2, 4, 3", "[4,2,1,5,3]"),
        ("3, 1, 2, 0", [15, 4, 2], "0, 2, 1", "[15,2,4]"),
    ],
)
def test_the_first_does_what_the_second_did(first: str, shape: list[int], last: str, sizes: str) -> None:
    model = graph_of(text_of(first, sizes, last), shape=np.array(shape))
    assert rewritten(MergeTransposes, model)
    assert operators(model) == ["Transpose", "Reshape", "Neg"]


@pytest.mark.parametrize(
    ("shape", "last", "sizes"),
    [
        pytest.param([6, 5, 4], "0, 2, 1", "[6,4,5]", id="the reshape changes the last two"),
        pytest.param([6, 4, 5], "1, 0, 2", "[4,6,5]", id="others than the last two change places"),
        pytest.param([6, 4, 5], "0, 1, 2", "[6,4,5]", id="nothing changes places"),
    ],
)
def test_keep_both_when(shape: list[int], last: str, sizes: str) -> None:
    assert not rewritten(MergeTransposes, graph_of(text_of("1, 0, 2, 3", sizes, last), shape=np.array(shape)))


@pytest.mark.parametrize("read", ["a", "b"])
def test_keep_both_when_something_else_reads_what_lies_between(read: str) -> None:
    tail = f"d = ReduceSum<keepdims=0>({read}) \n logits = Add(c, d)"
    model = graph_of(text_of("1, 0, 2, 3", "[6,5,4]", "0, 2, 1", tail=tail), shape=np.array([6, 4, 5]))
    assert not rewritten(MergeTransposes, model)


def test_keep_both_when_the_second_yields_the_logits() -> None:
    text = f"""{IMAGE} => (float[6,5,4] logits) {{
        a = Transpose<perm=[1, 0, 2, 3]>(image)
        b = Reshape(a, shape)
        logits = Transpose<perm=[0, 2, 1]>(b)
    }}"""
    assert not rewritten(MergeTransposes, graph_of(text, shape=np.array([6, 4, 5])))
