"""Random weights of any module, such that every parameter affects the logits."""

import torch
from torch import Tensor, nn

from models.sources.drawing import draw, rehearsal_images, seeded, settling

SMALLEST_EFFECT = 1e-3  # relative to the largest logit; a thousand times the rounding of float32


class Branch(nn.Module):
    """A residual branch without effect when fresh: its scale is 1e-6 and its table 0."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((8,), 1e-6))
        self.table = nn.Parameter(torch.zeros(16, 8))
        self.temperature = nn.Parameter(torch.ones(1, 1, 8))
        self.gate = nn.Parameter(torch.zeros(()))
        self.weight = nn.Parameter(torch.zeros(8, 8))
        self.position = nn.Embedding(16, 8)

    def forward(self, tokens: Tensor) -> Tensor:
        mixed = torch.softmax(self.temperature * (tokens + self.table), 1) + self.position.weight
        return tokens + self.gamma * (mixed @ self.weight) + self.gate * tokens


class Everything(nn.Module):
    """A network with one parameter of each role."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, stride=4)
        self.norm = nn.BatchNorm2d(8)
        nn.init.zeros_(self.norm.weight)
        self.branch = Branch()
        self.last = nn.LayerNorm(8)
        nn.init.zeros_(self.last.weight)
        self.head = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.norm(self.stem(images)).flatten(2).transpose(1, 2)
        logits: Tensor = self.head(self.last(self.branch(tokens)).mean(1))
        return logits


def without_effect(network: nn.Module) -> set[str]:
    """Return the parameters whose negation does not change the logits."""
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    found = set()
    with torch.no_grad():
        logits = network(images)
        for name, parameter in network.named_parameters():
            parameter.neg_()
            if float((network(images) - logits).abs().max()) <= SMALLEST_EFFECT * float(logits.abs().max()):
                found.add(name)
            parameter.neg_()
    return found


def drawn(seed: int) -> Everything:
    with seeded(seed):
        network = Everything()
    draw(network, seed)
    return network.eval()


def test_every_parameter_affects_the_logits() -> None:
    assert without_effect(drawn(seed=0)) == set()
    fresh = Everything().eval()
    assert {"branch.gamma", "branch.table", "branch.gate", "norm.weight"} <= without_effect(
        fresh
    )  # so the check can fail


def test_the_seed_alone_determines_the_weights() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = drawn(seed=1).state_dict()
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(6)
    again, other = drawn(seed=1).state_dict(), drawn(seed=2).state_dict()
    assert all(torch.equal(tensor, again[key]) for key, tensor in first.items())
    assert not any(torch.equal(first[key], other[key]) for key in dict(Everything().named_parameters()))


def test_layer_scales_are_large_and_tables_vary_around_their_initial_values() -> None:
    gamma, table, temperature = (
        drawn(seed=0).branch.get_parameter(name).detach() for name in ("gamma", "table", "temperature")
    )
    assert 0.1 < float(gamma.min()) < float(gamma.max()) < 0.9
    assert 0.3 < float(table.std()) < 0.7
    assert 0.3 < float((temperature - 1).std()) < 0.9


def test_a_tied_parameter_is_drawn_once() -> None:
    first, second, alone = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
    second.weight = first.weight
    draw(nn.Sequential(first, second), seed=0)
    draw(nn.Sequential(alone), seed=0)
    assert torch.equal(first.weight, alone.weight)


def test_running_statistics_are_near_those_of_the_images() -> None:
    network = nn.Sequential(nn.Conv2d(3, 64, 1), nn.BatchNorm2d(64), nn.Conv2d(64, 64, 1), nn.BatchNorm2d(64))
    draw(network, seed=0)
    with torch.no_grad():
        for convolution in (network[0], network[2]):
            convolution.weight.mul_(30)  # type: ignore[operator]
    images = rehearsal_images((12, 20), seed=0)
    unsettled = network.eval()(images)
    with torch.no_grad(), settling(network, seed=0):
        network(images)
    with torch.no_grad():
        inputs = network[:3](images).transpose(0, 1).flatten(1)
        assert float(network(images).abs().max()) < 20 < float(unsettled.abs().max())
    norm = network[3]
    assert isinstance(norm, nn.BatchNorm2d)
    assert isinstance(norm.running_var, Tensor)
    ratio = norm.running_var / inputs.var(1, correction=0)
    assert 2 <= float(ratio.min()) < 2.8
    assert 5.2 < float(ratio.max()) <= 6.001
    before = norm.running_var.clone()
    network(images)
    assert torch.equal(before, norm.running_var)  # a later run changes nothing
