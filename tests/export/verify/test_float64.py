"""In float64 a network computes in float64 throughout, whatever its code asks for; the answer is NumPy's."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.verify.float64 import in_float64

RNG = np.random.default_rng(3)
X: NDArray[np.float64] = RNG.normal(size=(2, 4))
TABLE: NDArray[np.float32] = RNG.normal(size=(4, 4)).astype(np.float32)
THIRD = float(np.float32(1 / 3))
KEPT = torch.from_numpy(TABLE)  # in no parameter and no buffer

Array = NDArray[Any]


def softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    result: Array = powers / powers.sum(axis=-1, keepdims=True)
    return result


def turned(x: Tensor) -> Tensor:
    """Rotates pairs by their place, as complex numbers."""
    pairs = torch.view_as_complex(x.reshape(2, 2, 2)) * torch.tensor([0.1, 0.2], dtype=torch.complex64).exp()
    return torch.view_as_real(pairs).flatten(1)


# What a network's code may write, and what it means.
ASKS_FOR_FLOAT32: dict[str, tuple[Callable[[Tensor], Tensor], Array]] = {
    "float()": (lambda x: x.float().sin(), np.sin(X)),
    "to(float32)": (lambda x: x.to(torch.float32).sin(), np.sin(X)),
    "type_as": (lambda x: x.type_as(KEPT).sin(), np.sin(X)),
    "a sum": (lambda x: x.sum(1, dtype=torch.float32).sin(), np.sin(X.sum(axis=1))),
    "a softmax": (lambda x: torch.softmax(x, -1, dtype=torch.float32), softmax(X)),
    "a range": (lambda x: x * torch.arange(4, dtype=torch.float32).exp(), X * np.exp(np.arange(4))),
    "a full": (lambda x: x * torch.full((4,), 0.1, dtype=torch.float32), X * 0.1),
    "a constant": (lambda x: x * torch.tensor(3.0, dtype=torch.float32).sqrt(), X * np.sqrt(3)),
    "a product": (lambda x: x @ KEPT, X @ TABLE.astype(np.float64)),
    "a layer": (lambda x: nn.functional.linear(x.float(), KEPT), X @ TABLE.astype(np.float64).T),
    "a list": (lambda x: torch.cat([x, KEPT.sin()]), np.concatenate([X, np.sin(TABLE.astype(np.float64))])),
}


class Network(nn.Module):
    def __init__(self, compute: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.compute = compute
        self.scale = nn.Parameter(torch.tensor(THIRD))

    def forward(self, x: Tensor) -> Tensor:
        return self.compute(x) * self.scale


def run(network: nn.Module) -> Array:
    with torch.no_grad(), in_float64(network):
        found: Tensor = network(torch.from_numpy(X))
        assert found.dtype == torch.float64
    return found.numpy()


@pytest.mark.parametrize("name", ASKS_FOR_FLOAT32)
def test_what_asks_for_float32_is_computed_in_float64(name: str) -> None:
    compute, expected = ASKS_FOR_FLOAT32[name]
    network = Network(compute)
    expected = expected * THIRD
    np.testing.assert_allclose(run(network), expected, rtol=1e-13, atol=1e-15)
    # Float64 weights and a float64 image alone are not enough: the comparison above fails, or the network.
    with pytest.raises((AssertionError, RuntimeError)), torch.no_grad():
        found = copy.deepcopy(network).double()(torch.from_numpy(X)).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-15)


def test_complex_numbers_are_as_wide() -> None:
    angles = np.exp(np.array([0.1, 0.2], np.complex64).astype(np.complex128))
    expected = (X.reshape(2, 2, 2) @ np.array([1, 1j])) * angles
    found = run(Network(turned)) / THIRD
    np.testing.assert_allclose(found.reshape(2, 2, 2) @ np.array([1, 1j]), expected, rtol=1e-13)


def test_what_is_written_through_a_view_arrives() -> None:
    cache = KEPT.clone()  # float32, of keys for instance

    def fill(x: Tensor) -> Tensor:
        cache[:2].copy_(x)
        return x @ cache

    expected = X @ np.concatenate([X, TABLE[2:]]) * THIRD
    np.testing.assert_allclose(run(Network(fill)), expected, rtol=1e-6, atol=1e-6)  # what it keeps stays float32
    np.testing.assert_array_equal(cache.numpy(), np.concatenate([X.astype(np.float32), TABLE[2:]]))


def test_half_precision_rounds_as_the_network_asks() -> None:
    expected = X.astype(np.float16).astype(np.float64) * THIRD
    np.testing.assert_allclose(run(Network(lambda x: x.half().double())), expected, rtol=1e-13)
    assert not np.allclose(expected, X / 3, rtol=1e-6)


def test_bytes_are_reinterpreted_as_the_type_that_is_asked_for() -> None:
    bits = torch.tensor([1.5, -2.0, 3.25, 0.1]).view(torch.int32)
    found = run(Network(lambda x: x + bits.view(torch.float32)))
    expected = (X + np.array([1.5, -2.0, 3.25, 0.1], np.float32)) * THIRD
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_float32_is_float32_again_afterwards_even_if_the_network_fails() -> None:
    def fail(x: Tensor) -> Tensor:
        raise ValueError(f"no {x.dtype}")

    network = Network(fail)
    before = network.scale.detach().clone()
    with pytest.raises(ValueError, match=r"no torch\.float64"):
        run(network)
    assert network.scale.dtype == torch.get_default_dtype() == torch.float32
    assert torch.equal(network.scale, before)
    assert torch.zeros(1, dtype=torch.float64).float().dtype == torch.float32
    assert torch.arange(3, dtype=torch.float32).dtype == torch.float32
