"""Networks in float64, even where their code requests float32, compared with NumPy."""

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
KEPT = torch.from_numpy(TABLE)  # neither a parameter nor a buffer

Array = NDArray[Any]


def softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    result: Array = powers / powers.sum(axis=-1, keepdims=True)
    return result


def rotated(x: Tensor) -> Tensor:
    """Return pairs multiplied by complex factors that depend on their position."""
    pairs = torch.view_as_complex(x.reshape(2, 2, 2)) * torch.tensor([0.1, 0.2], dtype=torch.complex64).exp()
    return torch.view_as_real(pairs).flatten(1)


# Code of a network, and its result in float64.
REQUESTS_FLOAT32: dict[str, tuple[Callable[[Tensor], Tensor], Array]] = {
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


@pytest.mark.parametrize("name", REQUESTS_FLOAT32)
def test_code_that_requests_float32_is_computed_in_float64(name: str) -> None:
    compute, expected = REQUESTS_FLOAT32[name]
    network = Network(compute)
    expected = expected * THIRD
    np.testing.assert_allclose(run(network), expected, rtol=1e-13, atol=1e-15)
    # With float64 weights and images alone, the comparison above or the network itself fails.
    with pytest.raises((AssertionError, RuntimeError)), torch.no_grad():
        found = copy.deepcopy(network).double()(torch.from_numpy(X)).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-15)


def test_complex_numbers_are_complex128() -> None:
    angles = np.exp(np.array([0.1, 0.2], np.complex64).astype(np.complex128))
    expected = (X.reshape(2, 2, 2) @ np.array([1, 1j])) * angles
    found = run(Network(rotated)) / THIRD
    np.testing.assert_allclose(found.reshape(2, 2, 2) @ np.array([1, 1j]), expected, rtol=1e-13)


def test_a_write_through_a_view_changes_the_tensor() -> None:
    cache = KEPT.clone()  # float32, such as a cache of keys

    def fill(x: Tensor) -> Tensor:
        cache[:2].copy_(x)
        return x @ cache

    expected = X @ np.concatenate([X, TABLE[2:]]) * THIRD
    np.testing.assert_allclose(run(Network(fill)), expected, rtol=1e-6, atol=1e-6)  # the cache stays float32
    np.testing.assert_array_equal(cache.numpy(), np.concatenate([X.astype(np.float32), TABLE[2:]]))


def test_half_precision_requested_by_the_network_still_rounds() -> None:
    expected = X.astype(np.float16).astype(np.float64) * THIRD
    np.testing.assert_allclose(run(Network(lambda x: x.half().double())), expected, rtol=1e-13)
    assert not np.allclose(expected, X / 3, rtol=1e-6)


def test_bytes_are_reinterpreted_as_the_requested_type() -> None:
    bits = torch.tensor([1.5, -2.0, 3.25, 0.1]).view(torch.int32)
    found = run(Network(lambda x: x + bits.view(torch.float32)))
    expected = (X + np.array([1.5, -2.0, 3.25, 0.1], np.float32)) * THIRD
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_dtypes_are_restored_even_if_the_network_fails() -> None:
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
