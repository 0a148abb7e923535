"""Twins share the network's tensors, also where copy.deepcopy fails."""

import copy
import io
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor, nn

from models.sources import SourceError
from models.sources.twin import script_modules, share_tensors

IMAGE = torch.linspace(-1, 1, 12).reshape(3, 4)


class Keeping(nn.Module):
    """A layer with an arbitrary attribute beside its weights."""

    def __init__(self, kept: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.linear, self.kept, self.calls = nn.Linear(4, 5), kept, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        out: Tensor = self.linear(x)
        return out


class Slotted:
    """An object with a lock that is not a module."""

    def __init__(self) -> None:
        self.lock, self.count = threading.Lock(), [0]


def weight_norm() -> nn.Module:
    with warnings.catch_warnings(action="ignore"):  # deprecated, and still in published code
        network: nn.Module = nn.utils.weight_norm(nn.Linear(4, 5))
    return network


def parametrized_weight_norm() -> nn.Module:
    network: nn.Module = nn.utils.parametrizations.weight_norm(nn.Linear(4, 5))
    return network


def cached() -> nn.Module:
    network = Keeping(None)
    network.kept = network.linear.weight * 2
    return network


def cached_in_a_list() -> nn.Module:
    network = Keeping([])
    network.kept.append({"bias": network.linear.bias.exp()})
    return network


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "an old weight_norm": weight_norm,
    "a parametrization": parametrized_weight_norm,
    "a tensor computed at construction": cached,
    "a computed tensor in a container": cached_in_a_list,
    "a lock": lambda: Keeping(threading.Lock()),
    "a lock in each layer": lambda: nn.Sequential(nn.Linear(4, 4), *(Keeping(threading.RLock()) for _ in range(1))),
    "a lock in an object in a dictionary": lambda: Keeping({"state": Slotted()}),
    "a module of Python": lambda: Keeping(numpy),
    "a generator of torch": lambda: Keeping(torch.Generator()),
    "a generator of Python": lambda: Keeping(iter(number for number in range(3))),
    "a file": lambda: Keeping(io.TextIOWrapper(io.BytesIO())),
    "several of these": lambda: nn.Sequential(weight_norm(), nn.Linear(5, 4), Keeping([threading.Lock(), numpy])),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_twin_shares_tensors_and_results_whatever_else_the_network_holds(name: str) -> None:
    network = NETWORKS[name]().eval()
    twin = share_tensors(network)
    assert type(twin) is type(network)
    assert twin is not network
    theirs = dict(network.named_parameters())
    assert all(parameter is theirs[key] for key, parameter in twin.named_parameters())
    with torch.no_grad():
        assert torch.equal(twin(IMAGE), network(IMAGE))
        for parameter in network.parameters():
            parameter.mul_(2)
        assert torch.equal(twin(IMAGE), network(IMAGE))


def test_copyable_attributes_are_copied_and_others_shared() -> None:
    kept = Slotted()
    network = Keeping({"state": kept})
    with pytest.raises(TypeError, match="cannot pickle"):  # otherwise the test is meaningless
        copy.deepcopy(network)
    twin = share_tensors(network)
    assert isinstance(twin, Keeping)
    twin(IMAGE)
    twin.kept["state"].count.append(1)
    assert (network.calls, kept.count) == (0, [0])
    assert twin.kept["state"].lock is kept.lock


class Alone(nn.Linear):
    """A layer that refuses to be copied."""

    def __deepcopy__(self, memo: dict[int, object]) -> "Alone":
        raise NotImplementedError("there can be one only\nand more")


class Fresh:
    """An object that contains a new lock in every copy."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (list, ([threading.Lock()],))


def test_a_module_that_refuses_to_be_copied_is_named() -> None:
    message = (
        r"^Sequential cannot be copied, .*: 1\.linear \(Alone\) raises NotImplementedError: there can be one only;"
    )
    keeping = Keeping(None)
    keeping.linear = Alone(4, 5)
    with pytest.raises(SourceError, match=message):
        share_tensors(nn.Sequential(nn.Linear(4, 4), keeping))


def test_an_object_with_a_new_lock_in_every_copy_is_refused() -> None:
    with pytest.raises(SourceError, match=r"Keeping cannot be copied, .*lock raises TypeError: cannot pickle"):
        share_tensors(Keeping(Fresh()))


def test_torchscript_is_found_whole_and_in_parts() -> None:
    with warnings.catch_warnings(action="ignore"):  # deprecated
        script = torch.jit.trace(nn.Linear(4, 5), IMAGE)  # type: ignore[no-untyped-call]
    assert script_modules(script)[0] == ""
    assert script_modules(nn.Sequential(nn.Linear(4, 4), script))[0] == "1"
    assert script_modules(nn.Linear(4, 4)) == []
