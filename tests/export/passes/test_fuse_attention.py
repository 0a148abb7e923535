"""Attention in place of products and softmax, compared with the unchanged graph on random images."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from artifact import Batch
from export.passes.fuse_attention import OPSET, FuseAttention
from export.passes.graph import Built, build_graph
from models import build_network
from models.sources.own import randomise
from tests.export.graphs import open_graph, run_graph
from tests.export.passes.graphs import Array, graph_of, ints, operators, run
from tests.export.small_networks import Prepared, beit, rope_mixed
from tests.models.networks import VIT_CLS
from tests.models.sources.libraries import randomise_library, relative_error

TOKENS, HEADS, SIZE = 5, 3, 4
ROWS = "float[2, 5, 12]"
MERGED = "t = Transpose<perm = [0, 2, 1, 3]>(o) r = Reshape(t, merged) y = Relu(r)"
SCORES = "s = MatMul(q, kt) p = Softmax(s) o = MatMul(p, v)"
PACKED = """
    heads = Reshape(image, split_heads) turned = Transpose<perm = [0, 2, 1, 3]>(heads)
    q, k, v = Split<axis = 1>(turned, parts) kt = Transpose<perm = [0, 1, 3, 2]>(k)
"""


def apart(of_query: str = "image", of_key: str = "image", of_value: str = "image") -> str:
    return f"""
        a = Reshape({of_query}, split_heads) q = Transpose<perm = [0, 2, 1, 3]>(a)
        b = Reshape({of_key}, split_heads) kt = Transpose<perm = [0, 2, 3, 1]>(b)
        c = Reshape({of_value}, split_heads) v = Transpose<perm = [0, 2, 1, 3]>(c)
    """


def model_of(nodes: str, inputs: str = f"{ROWS} image", output: str = f"{ROWS} y", **constants: Array) -> ir.Model:
    known = {
        "split_heads": ints(0, 0, -1, SIZE),
        "merged": ints(0, 0, -1),
        "parts": ints(HEADS, HEADS, HEADS),
        **constants,
    }
    read = {name: array for name, array in known.items() if name in nodes}
    model = graph_of(f"({inputs}) => ({output}) {{ {nodes} }}", **read)
    model.opset_imports[""] = OPSET
    return model


FUSED = {
    "packed q, k, v": model_of(PACKED + SCORES + MERGED, "float[2, 5, 36] image"),
    "packed q, k, v in another order": model_of(
        (PACKED + SCORES + MERGED).replace("q, k, v =", "v, q, k ="), "float[2, 5, 36] image"
    ),
    "q split off before k and v": model_of(
        (PACKED + SCORES + MERGED).replace(
            "q, k, v = Split<axis = 1>(turned, parts)",
            "q, w = Split<axis = 1>(turned, first) k, v = Split<axis = 1>(w, second)",
        ),
        "float[2, 5, 36] image",
        first=ints(HEADS, 2 * HEADS),
        second=ints(HEADS, HEADS),
    ),
    "q, k, v from three tensors": model_of(
        apart("image", "keys", "values") + SCORES + MERGED, f"{ROWS} image, {ROWS} keys, {ROWS} values"
    ),
    "other tokens for k and v": model_of(
        apart("image", "others", "others") + SCORES + MERGED, f"{ROWS} image, float[2, 7, 12] others"
    ),
    "more channels in v": model_of(
        apart(of_value="values").replace("Reshape(values, split_heads)", "Reshape(values, wide)") + SCORES + MERGED,
        f"{ROWS} image, float[2, 5, 18] values",
        "float[2, 5, 18] y",
        wide=ints(0, 0, -1, 6),
    ),
    "a named softmax axis": model_of(apart() + SCORES.replace("Softmax", "Softmax<axis = 3>") + MERGED),
}


@pytest.mark.parametrize("case", FUSED)
def test_fuse(case: str) -> None:
    model = FUSED[case].clone()
    fusing = FuseAttention()
    assert fusing(model).modified
    assert not fusing.declined
    ir.passes.common.RemoveUnusedNodesPass()(model)
    assert set(operators(model)) <= {"Split", "Attention", "Relu"}
    (found,), (expected,) = run(model), run(FUSED[case])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_the_comparison_is_able_to_fail() -> None:
    model = FUSED["q, k, v from three tensors"].clone()
    FuseAttention()(model)
    (attention,) = (node for node in model.graph if node.op_type == "Attention")
    query, key, _ = attention.inputs
    attention.replace_input_with(0, key)
    attention.replace_input_with(1, query)
    (found,), (expected,) = run(model), run(FUSED["q, k, v from three tensors"])
    assert np.abs(found - expected).max() > 0.01


BIASED = SCORES.replace("Softmax(s)", "Softmax(w)").replace("p =", "w = Add(s, bias) p =")
ALONE = "the scores are not q·kᵀ alone"
NOT_ROWS = "q, k or v is not the heads of rows"
NOT_MERGED = "the heads of the result are not merged to rows"

KEPT = {
    "a bias": (model_of(apart() + BIASED + MERGED, bias=np.ones((1, HEADS, TOKENS, TOKENS), np.float32)), ALONE),
    "scores that are also returned": (
        model_of(apart() + SCORES + MERGED, output=f"{ROWS} y, float[2, 3, 5, 5] s"),
        ALONE,
    ),
    "a scaled q": (model_of(apart().replace("q =", "u =") + "q = Mul(u, u)" + SCORES + MERGED), NOT_ROWS),
    "heads that follow the channels": (
        model_of(
            apart().replace("a = Reshape(image, split_heads) q = Transpose<perm = [0, 2, 1, 3]>(a)", "")
            + "a = Reshape(image, other) q = Transpose<perm = [0, 3, 1, 2]>(a)"
            + SCORES
            + MERGED,
            other=ints(0, 0, SIZE, HEADS),
        ),
        NOT_ROWS,
    ),
    "parts of different sizes": (
        model_of(
            PACKED.replace("q, k, v =", "q, k, v, rest =") + SCORES + MERGED,
            "float[2, 5, 40] image",
            parts=ints(HEADS, HEADS, HEADS, 1),
        ),
        NOT_ROWS,
    ),
    "one head of k for all": (
        model_of(
            apart(of_key="keys") + SCORES + MERGED,
            f"{ROWS} image, float[2, 5, 4] keys",
        ),
        NOT_ROWS,
    ),
    "some tokens of q": (
        model_of(
            apart("longer").replace("q =", "w =") + "q, rest = Split<axis = 2>(w, tokens)" + SCORES + MERGED,
            f"{ROWS} image, float[2, 7, 12] longer",
            tokens=ints(TOKENS, 2),
        ),
        NOT_ROWS,
    ),
    "tokens merged too": (
        model_of(apart() + SCORES + MERGED.replace("merged", "flat"), output="float[2, 60] y", flat=ints(0, -1)),
        NOT_MERGED,
    ),
    "rows that are returned": (
        model_of(apart() + SCORES + MERGED, output=f"{ROWS} y, {ROWS} r"),
        NOT_MERGED,
    ),
    "heads that are not merged": (
        model_of(apart() + SCORES + "y = Relu(o)", output="float[2, 3, 5, 4] y"),
        NOT_MERGED,
    ),
    "heads merged in another order": (
        model_of(apart() + SCORES + "t = Transpose<perm = [0, 2, 3, 1]>(o) r = Reshape(t, merged) y = Relu(r)"),
        NOT_MERGED,
    ),
    "a softmax over queries": (
        model_of(apart() + SCORES.replace("Softmax", "Softmax<axis = 2>") + MERGED),
        "the softmax is not over the keys",
    ),
}


@pytest.mark.parametrize("case", KEPT)
def test_keep_with_a_reason(case: str) -> None:
    model, reason = KEPT[case]
    model = model.clone()
    fusing = FuseAttention()
    assert not fusing(model).modified
    assert [declined.reason.startswith(reason) for declined in fusing.declined] == [True], fusing.declined
    assert operators(model) == operators(KEPT[case][0])


@pytest.mark.parametrize(
    "nodes",
    [
        "y = Softmax(image)",
        "p = Softmax(image) y = MatMul(p, weights)",
        "p = Softmax(image) q = Softmax(p) y = Add(p, q)",
    ],
)
def test_a_softmax_that_is_no_attention_is_not_reported(nodes: str) -> None:
    model = model_of(nodes, weights=np.ones((12, 12), np.float32))
    fusing = FuseAttention()
    assert (fusing(model).modified, fusing.declined) == (False, [])


def exported(network: nn.Module, *size: int) -> Built:
    return build_graph(network, torch.zeros(2, 3, *size), Batch(min=1, max=8), OPSET, fuses_attention=True)


@pytest.fixture(scope="module")
def vit() -> tuple[nn.Module, ir.Model]:
    network = build_network(VIT_CLS.model_copy(update={"depth": 3, "encodings": {"learned": {}}})).eval()
    randomise(network, 0)
    return network, exported(network, 32, 48).model


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 2, 3, 7])
def test_a_vit_computes_the_same_at_any_batch_size(batch: int, vit: tuple[nn.Module, ir.Model]) -> None:
    network, model = vit
    assert operators(model).count("Attention") == 2  # the last block has the query of the class token only
    images = torch.randn(batch, 3, 32, 48, generator=torch.Generator().manual_seed(batch))
    with torch.no_grad():
        assert relative_error(run_graph(open_graph(model), images), network(images)) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(("make", "reason"), [(rope_mixed, NOT_ROWS), (beit, ALONE)])
def test_attention_with_a_bias_or_rotations_is_kept_and_reported(make: Callable[[], Prepared], reason: str) -> None:
    network, _ = make()
    randomise_library(network)
    built = exported(network, 64, 64)
    assert "Attention" not in operators(built.model)
    declined = {line.reason for line in built.rewrites.lines if line.before == "Softmax"}
    assert reason in {(found or "")[: len(reason)] for found in declined}
