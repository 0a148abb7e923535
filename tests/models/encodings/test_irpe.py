"""All forms of iRPE, compared with loops over pairs of tokens."""

import itertools
import math
from typing import Any, cast

import numpy as np
import pytest
import torch

from models.encodings import ENCODINGS, Encoding, Place, build_encoding
from models.encodings.irpe import IRPE, MODES, TARGETS
from models.encodings.irpe_buckets import Mapping
from tests.models.encodings.irpe_oracle import MAPPINGS, slow_buckets
from tests.models.encodings.oracle import (
    HEAD_DIM,
    HEADS,
    Expected,
    Image,
    assert_differs,
    assert_returns,
    filled,
    image,
    no_bias,
    on_every_place,
)

ALL = [f"irpe-{mapping}-{mode}-{on}" for mapping, mode, on in itertools.product(MAPPINGS, MODES, TARGETS)]
BIASES_ON_VALUES = [name for name in ALL if "-bias-" in name and name.endswith("v")]
NAMES = [name for name in ALL if name not in BIASES_ON_VALUES]

RATIO = 1.0  # α, β, γ = 1, 2, 8, so that the small grids reach the logarithmic part and its end
LIMITS = (RATIO, 2 * RATIO, 8 * RATIO)


def slow_irpe(
    encoding: Encoding, place: Place, given: Image, name: str, options: dict[str, Any], mistake: str | None = None
) -> Expected:
    """Return the sums of the definition over all pairs, or sums with a deliberate mistake."""
    _, mapping, mode, on = name.split("-")
    function, quantization = options.get("index_function", "piecewise"), options.get("quantization", "ranked")
    parts = slow_buckets(place, cast("Mapping", mapping), function, LIMITS, quantization)
    scale = 1 if mistake == "unscaled k" else 1 / math.sqrt(HEAD_DIM)
    q, k, attention = (tensor.numpy() for tensor in (given.q, given.k, given.attention))
    bias = no_bias(place).numpy() if mode == "bias" else None
    scores = np.zeros_like(attention) if mode == "contextual" and on != "v" else None
    values = np.zeros_like(q) if "v" in on else None
    for target, (part, (bucket, count)) in itertools.product(on, parts.items()):
        r = table_of_heads(encoding, f"{target}.{part}.table", count, mode, shared=options.get("shared", True))
        for i, j in itertools.product(range(place.num_tokens), repeat=2):
            forward, backward = bucket[i][j], bucket[j][i]
            if mistake == "transposed":
                forward, backward = backward, forward
            if bias is not None:
                bias[:, i, j] += r[:, forward if target == "k" else backward]
            elif target == "v" and values is not None:
                values[:, :, i] += attention[:, :, i, j, None] * r[:, forward]
            elif target == "k" and scores is not None:
                scores[:, :, i, j] += (q[:, :, i] * r[:, forward]).sum(axis=-1)
            elif target == "q" and scores is not None:
                scores[:, :, i, j] += (k[:, :, j] * scale * r[:, backward]).sum(axis=-1)
    return Expected(
        **{
            method: None if term is None else torch.from_numpy(term)
            for method, term in (("bias", bias), ("scores", scores), ("values", values))
        }
    )


def table_of_heads(encoding: Encoding, key: str, count: int, mode: str, *, shared: bool) -> np.ndarray[Any, Any]:
    """Return r indexed by [head, bucket]; contextual tables of queries and keys are stored as [d, bucket]."""
    table = encoding.get_parameter(key).data
    tables, of_values = 1 if shared else HEADS, key.startswith("v")
    if mode == "bias":
        assert table.shape == (tables, count)
    else:
        assert table.shape == ((tables, count, HEAD_DIM) if of_values else (tables, HEAD_DIM, count))
    r = table.mT if mode == "contextual" and not of_values else table
    return r.expand(HEADS, *r.shape[1:]).numpy()


def forms(name: str) -> list[dict[str, Any]]:
    """Return the options that change what an encoding computes, in all combinations."""
    quantizations = ["ranked", "squared"] if "quantization" in name else ["ranked"]
    return [
        {"ratio": RATIO, "shared": shared, "index_function": function, "quantization": quantization}
        for shared, function, quantization in itertools.product((True, False), ("piecewise", "clip"), quantizations)
    ]


@on_every_place
@pytest.mark.parametrize("name", NAMES)
def test_irpe_matches_its_definition(name: str, place: Place) -> None:
    given = image(place)
    for options in forms(name):
        encoding = filled(name, place, options)
        assert_returns(encoding, given, slow_irpe(encoding, place, given, name, options))


@pytest.mark.parametrize("name", [name for name in NAMES if "product" in name or "cross" in name])
def test_the_comparison_detects_swapped_queries_and_keys(name: str) -> None:
    place = Place((3, 5), 1, HEADS * HEAD_DIM, HEADS)
    encoding, given = filled(name, place, {"ratio": RATIO}), image(place)
    wrong = slow_irpe(encoding, place, given, name, {}, mistake="transposed")
    assert_differs(encoding, given, wrong)


@pytest.mark.parametrize("name", [name for name in NAMES if "contextual" in name and "q" in name.rsplit("-")[-1]])
def test_the_comparison_detects_an_unscaled_key(name: str) -> None:
    place = Place((3, 5), 1, HEADS * HEAD_DIM, HEADS)
    encoding, given = filled(name, place, {"ratio": RATIO}), image(place)
    assert_differs(encoding, given, slow_irpe(encoding, place, given, name, {}, mistake="unscaled k"))


@pytest.mark.parametrize("name", NAMES)
def test_the_comparison_detects_another_index_function(name: str) -> None:
    place = Place((3, 5), 1, HEADS * HEAD_DIM, HEADS)
    encoding, given = filled(name, place, {"ratio": RATIO}), image(place)
    assert_differs(encoding, given, slow_irpe(encoding, place, given, name, {"index_function": "clip"}))


@pytest.mark.parametrize("name", BIASES_ON_VALUES)
def test_a_bias_on_values_does_not_exist(name: str) -> None:
    assert name in ENCODINGS
    with pytest.raises(ValueError, match=r"a bias on values does not exist.*use contextual"):
        build_encoding({name: {}}, Place((4, 4), 0, HEADS * HEAD_DIM, HEADS), "attention")


def test_limits_may_be_given_instead_of_a_ratio() -> None:
    place = Place((4, 4), 1, HEADS * HEAD_DIM, HEADS)
    given = image(place)
    by_limits = filled("irpe-product-contextual-qkv", place, {"limits": LIMITS})
    by_ratio = filled("irpe-product-contextual-qkv", place, {"ratio": RATIO})
    assert_returns(
        by_limits, given, Expected(scores=by_ratio.scores(given.q, given.k), values=by_ratio.values(given.attention))
    )
    other = filled("irpe-product-contextual-qkv", place, {"limits": (1.0, 3.0, 8.0)})
    assert other.state_dict()["k.product.table"].shape == (1, HEAD_DIM, 50)


def test_tables_have_the_published_shapes() -> None:
    """iRPE on DeiT-S: 14×14 patches and CLS, d = 64, ratio 1.9, one table for all heads (50 = 7·7 + 1 buckets)."""
    place = Place((14, 14), 1, width=384, num_heads=6)
    encoding = build_encoding({"irpe-product-contextual-qkv": {}}, place, "attention")
    assert {key: tuple(tensor.shape) for key, tensor in encoding.state_dict().items()} == {
        "q.product.table": (1, 64, 50),
        "k.product.table": (1, 64, 50),
        "v.product.table": (1, 50, 64),
    }


def test_fresh_tables_are_zero_as_in_the_authors_code() -> None:
    encoding = build_encoding({"irpe-cross-contextual-qkv": {}}, Place((4, 4), 1, 24, 3), "attention")
    assert not any(bool(parameter.any()) for parameter in encoding.parameters())


@pytest.mark.parametrize(("mode", "on"), [("both", "k"), ("contextual", ""), ("contextual", "kx"), ("bias", "z")])
def test_a_form_that_does_not_exist_is_refused(mode: str, on: str) -> None:
    with pytest.raises(ValueError, match="bias or contextual, on one or more of q, k and v"):
        IRPE(Place((4, 4), 0, 24, 3), "product", mode, on)
