"""Properties of every registered encoding, and lookup by name."""

from typing import Any

import pytest
import torch

from models.encodings import ENCODINGS, ActsOn, Place, build_encoding
from models.encodings.irpe import IRPE
from models.encodings.learned import Learned
from models.encodings.none import NoEncoding
from tests.models.encodings import (
    test_alibi,
    test_irpe,
    test_offset_networks,
    test_rope,
    test_shaw,
    test_tables,
    test_tokens,
)
from tests.models.encodings.oracle import filled, image

ORACLES = (test_alibi, test_irpe, test_offset_networks, test_rope, test_shaw, test_tables, test_tokens)
CHECKED = [name for module in ORACLES for name in module.NAMES]
PLACE = Place((3, 5), 1, width=24, num_heads=3)
WITHOUT_PARAMETERS = {"alibi-2d", "none", "rope", "sincos"}


def test_every_registered_encoding_has_an_oracle() -> None:
    assert sorted(CHECKED + test_irpe.BIASES_ON_VALUES) == sorted(ENCODINGS)
    assert len(CHECKED) == 48


@pytest.mark.parametrize("name", CHECKED)
def test_an_encoding_acts_only_where_it_declares(name: str) -> None:
    encoding, given = filled(name, PLACE), image(PLACE)
    terms: dict[str, list[Any]] = {
        "tokens": [encoding.embedding()],
        "attention": [
            encoding.rotation(),
            encoding.bias(),
            encoding.scores(given.q, given.k),
            encoding.values(given.attention),
        ],
    }
    acts = {where for where, found in terms.items() if any(term is not None for term in found)}
    assert acts == {encoding.acts_on} - {"nothing"}
    assert encoding.acts_on == ENCODINGS[name].cls.acts_on


@pytest.mark.parametrize("name", CHECKED)
def test_only_scores_and_values_depend_on_the_image(name: str) -> None:
    """Export folds the other terms into constants."""
    encoding, given = filled(name, PLACE), image(PLACE)
    dependent = [encoding.scores(given.q, given.k), encoding.values(given.attention)]
    static = [encoding.embedding(), encoding.rotation(), encoding.bias()]
    is_dependent = "contextual" in name or name.startswith("shaw")
    assert any(term is not None for term in dependent) == is_dependent
    assert any(term is not None for term in static) == (not is_dependent and name != "none")


@pytest.mark.parametrize("name", CHECKED)
def test_a_state_dict_holds_only_learned_parameters(name: str) -> None:
    encoding = filled(name, PLACE)
    learned = {key for key, _ in encoding.named_parameters()}
    assert set(encoding.state_dict()) == learned
    assert bool(learned) == (name not in WITHOUT_PARAMETERS)


@pytest.mark.parametrize("name", [name for name in CHECKED if name not in WITHOUT_PARAMETERS])
def test_every_table_gets_a_gradient(name: str) -> None:
    encoding, given = filled(name, PLACE).requires_grad_(), image(PLACE)
    rotation = encoding.rotation()
    terms = [
        encoding.embedding(),
        None if rotation is None else rotation.turn(given.q),
        encoding.bias(),
        encoding.scores(given.q, given.k),
        encoding.values(given.attention),
    ]
    weighted = [
        (term * torch.linspace(1, 2, term.numel()).view(term.shape)).sum() for term in terms if term is not None
    ]
    gradients = torch.autograd.grad(weighted, list(encoding.parameters()))
    assert all(bool(gradient.any()) for gradient in gradients)


def test_a_place_without_an_encoding_gets_none() -> None:
    names: dict[str, dict[str, Any]] = {"learned": {}, "irpe-product-contextual-k": {"ratio": 2.0}}
    assert isinstance(build_encoding(names, PLACE, "tokens"), Learned)
    assert isinstance(build_encoding(names, PLACE, "attention"), IRPE)
    assert isinstance(build_encoding({"learned": {}}, PLACE, "attention"), NoEncoding)
    assert isinstance(build_encoding({"none": {}}, PLACE, "attention"), NoEncoding)


@pytest.mark.parametrize(
    ("encodings", "acts_on", "message"),
    [
        ({"swin": {}}, "attention", "unknown encoding 'swin'; known: .*swin-table"),
        ({"swin-table": {"window": 7}}, "attention", "swin-table has no option window; it has none"),
        (
            {"irpe-product-contextual-k": {"on": "v"}},
            "attention",
            "no option on; it has ratio, limits, index_function, sh",
        ),
        ({"shaw-k": {"on_values": True}}, "attention", "shaw-k has no option on_values; it has clip"),
        ({"learned": {}, "sincos": {}}, "tokens", "learned and sincos both act on the tokens"),
        ({"rope": {}, "alibi-2d": {}}, "attention", "rope and alibi-2d both act on the attention"),
        ({"irpe-product-contextual-k": {"ratio": 0.1}}, "attention", "beta must be at least 1"),
    ],
)
def test_an_invalid_encoding_is_refused_with_the_alternatives(
    encodings: dict[str, dict[str, Any]], acts_on: ActsOn, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build_encoding(encodings, PLACE, acts_on)


def test_an_empty_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        Place((0, 4), 0, 24, 3)
