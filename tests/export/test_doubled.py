"""Reading a network in float64 is exact, changes nothing, and what was made of it stands by itself."""

import copy
import itertools

import pytest
import torch
from torch import Tensor, nn

from export.bake import bake
from export.bake.doubled import read_in_float64
from tests.export.test_bake import NETWORKS, PIXELS, network_of


def storages(network: nn.Module) -> dict[int, str]:
    tensors = itertools.chain(network.named_parameters(), network.named_buffers())
    return {tensor.untyped_storage().data_ptr(): name for name, tensor in tensors}


def everything(network: nn.Module) -> dict[str, Tensor]:
    return dict(itertools.chain(network.named_parameters(), network.named_buffers()))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_twin_computes_what_a_copy_in_float64_computes(name: str) -> None:
    network = network_of(NETWORKS[name])
    image = torch.randn(2, 3, *NETWORKS[name].image_size, dtype=torch.float64)
    with torch.no_grad():
        expected = copy.deepcopy(network).double()(image)
        with read_in_float64(network) as twin:
            assert torch.equal(twin(image), expected)
        assert twin(image.float()).dtype == torch.float32  # the twin reads as it did
        assert not torch.equal(network(image.float()).double(), expected)  # float32 is able to differ


@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_is_neither_changed_nor_shared(name: str) -> None:
    network = network_of(NETWORKS[name])
    before, objects = {key: tensor.clone() for key, tensor in everything(network).items()}, everything(network)
    keys, types = list(network.state_dict()), [type(module) for module in network.modules()]
    form, _ = bake(network, PIXELS)
    after = everything(network)
    assert all(after[key] is objects[key] and torch.equal(after[key], before[key]) for key in before)
    assert (list(after), list(network.state_dict())) == (list(before), keys)
    assert [type(module) for module in network.modules()] == types
    shared = storages(network).keys() & storages(form).keys() - {0}  # 0: an empty tensor has no address
    assert {storages(network)[address] for address in shared} == set()
    with read_in_float64(network) as twin:
        pass
    assert storages(network) == storages(twin)  # what shares is found


def test_the_form_is_float32_throughout() -> None:
    for name in NETWORKS:
        form, _ = bake(network_of(NETWORKS[name]), PIXELS)
        assert {tensor.dtype for tensor in everything(form).values() if tensor.is_floating_point()} == {torch.float32}
        assert not any(hasattr(module, "parametrizations") for module in form.modules())
