"""A user's own network: report, both input types, and export from the command line to a served artifact."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from artifact import Baked, read_artifact
from export.process.errors import ExportError
from export.report.baked import report_constants
from export.to_onnx import main
from export.tracing.evaluation import evaluate
from export.tracing.pixels import ArtifactInput, Normalisation
from export.tracing.torch_export import trace
from export.verify.reference import normalise
from models.sources.library_module import LogitsOf
from service.backends.onnx_runtime import OnnxRuntimeBackend
from tests.export.graphs import baked_graph, open_graph, run_graph
from tests.export.test_zoo import loaded

pytestmark = pytest.mark.slow

PIXELS = Normalisation(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))
IMAGE = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
SOURCE = "python:tests.export.small_networks:levit"


def filled(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))))


class StaticBias(nn.Module):
    """Addition of a bias gathered from a table."""

    index: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.table = filled(9, 3)
        self.register_buffer("index", torch.arange(20).reshape(4, 5) % 9)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table[self.index].permute(2, 0, 1)


class QueryDependent(nn.Module):
    """Product of queries and a gathered table."""

    index: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.table = filled(7, 5)
        self.register_buffer("index", torch.tensor([6, 5, 4, 3]))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.table[self.index].t()


class RawEmbedding(nn.Module):
    """Addition of an embedding as stored and of one that is only reshaped."""

    def __init__(self) -> None:
        super().__init__()
        self.position, self.grid = filled(1, 4, 5), filled(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.position + self.grid.t().unsqueeze(0)


class Padded(nn.Conv2d):
    """A library's subclass of a layer."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.pad(x, (1, 1)))


class Computed(nn.Module):
    """A rotation and a mask computed by the constructor, with the filter of a convolution."""

    cos: Tensor
    mask: Tensor
    blur: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("cos", torch.rand(4, 5), persistent=False)
        self.register_buffer("mask", torch.rand(1, 4, 5), persistent=False)
        self.register_buffer("blur", torch.rand(3, 1, 3, 3), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x * self.cos + self.mask, self.blur, padding=1, groups=3)


class Scale(nn.Module):
    """A scale per channel and a token shared by all images: each varies along one axis only."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma, self.token = filled(3), filled(1, 1, 5)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma.reshape(1, 3, 1, 1) + self.token.expand(len(x), 1, 1, 5)


def report_of(network: nn.Module) -> tuple[Baked, ...]:
    _, constants = evaluate(trace(network.eval(), torch.zeros_like(IMAGE)))
    return report_constants(network.network if isinstance(network, ArtifactInput) else network, constants)


def test_a_gathered_bias_is_static_and_reported_with_its_sources() -> None:
    line = Baked(module="1", kind="static", what="index of table, index", shape=(3, 4, 5), bytes=3 * 4 * 5 * 4)
    assert report_of(nn.Sequential(nn.Identity(), StaticBias())) == (line,)


def test_a_table_multiplied_with_the_query_is_query_dependent_with_a_reason() -> None:
    (line,) = report_of(nn.Sequential(nn.Identity(), QueryDependent()))
    assert (line.module, line.kind, line.shape) == ("1", "query-dependent", (5, 4))
    assert line.what == "index of table, index; multiplied by image-dependent values (matmul)"


def test_embeddings_are_reported_as_stored_or_reshaped() -> None:
    lines = report_of(nn.Sequential(RawEmbedding()))
    assert [(line.module, line.kind, line.what, line.shape) for line in lines] == [
        ("0", "static", "position", (1, 4, 5)),
        ("0", "static", "grid", (1, 4, 5)),
    ]


def test_buffers_computed_by_the_constructor_are_reported_where_tokens_or_scores_use_them() -> None:
    assert [(line.kind, line.what) for line in report_of(nn.Sequential(Computed()))] == [
        ("static", "cos"),
        ("static", "mask"),
    ]


def test_weights_of_layers_scales_and_tokens_are_not_reported() -> None:
    layers = nn.Sequential(nn.Conv2d(3, 3, 1), nn.LayerNorm((4, 5)), Padded(3, 3, 3, padding=(1, 0)), Scale())
    assert report_of(layers) == ()
    assert report_of(nn.Sequential(*layers, StaticBias()))  # the report is not always empty


class Stack(nn.Sequential):
    """Blocks with an embedding before them."""

    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__(*blocks)
        self.position = filled(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.position
        for block in self:
            x = block(x)
        return x


def test_an_embedding_of_a_sequential_subclass_is_reported() -> None:
    assert [line.what for line in report_of(nn.Sequential(Stack(nn.Conv2d(3, 3, 1))))] == ["position"]


def test_module_paths_are_those_of_the_users_network_inside_wrappers() -> None:
    class Answer(nn.Module):
        """A network to be wrapped in `LogitsOf`."""

        def __init__(self) -> None:
            super().__init__()
            self.bias = StaticBias()

        def forward(self, x: Tensor) -> Tensor:
            biased: Tensor = self.bias(x)
            return biased

    answer = Answer()
    wrapped = ArtifactInput(nn.Sequential(answer).eval(), None)
    assert [line.module for line in report_of(wrapped)] == ["0.bias"]
    position = ArtifactInput(RawEmbedding().eval(), None)
    assert [line.what for line in report_of(position)] == ["position", "grid"]
    assert isinstance(LogitsOf(answer).network, Answer)


def test_pixels_and_normalised_floats_give_the_same_logits() -> None:
    network = nn.Sequential(StaticBias(), nn.Flatten(), nn.Linear(60, 6)).eval()
    pixels = torch.randint(0, 256, (3, 4, 5, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    expected = network(normalise(pixels, PIXELS).float())
    torch.testing.assert_close(ArtifactInput(network, PIXELS)(pixels), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(ArtifactInput(network, None)(normalise(pixels, PIXELS).float()), expected)
    swapped = Normalisation(PIXELS.std, PIXELS.mean)
    with pytest.raises(AssertionError):  # the comparison above is able to fail
        torch.testing.assert_close(ArtifactInput(network, swapped)(pixels), expected, rtol=1e-5, atol=1e-5)


def test_the_input_shares_the_networks_tensors() -> None:
    network = nn.Linear(2, 2).eval()
    whole = ArtifactInput(network, None)
    assert {id(tensor) for tensor in whole.parameters()} == {id(tensor) for tensor in network.parameters()}


def test_a_graph_ignores_later_training_steps_and_export_leaves_the_network_unchanged() -> None:
    network = nn.Sequential(StaticBias(), nn.Flatten(), nn.Linear(60, 6)).eval()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    image = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = network(image)
        session = open_graph(baked_graph(network, (4, 5)))
        assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())
        for parameter in network.parameters():
            parameter.add_(1.0)
        found = run_graph(session, image)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        with pytest.raises(AssertionError):  # the comparison above is able to fail
            torch.testing.assert_close(found, network(image), rtol=1e-5, atol=1e-5)


def test_a_network_in_train_mode_is_refused() -> None:
    with pytest.raises(ExportError, match=r"\.eval\(\)"):
        ArtifactInput(nn.Linear(2, 2).train(), None)


def test_a_users_network_is_exported_and_served_with_the_logits_of_torch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [SOURCE, "--random-weights", "0", "--output", str(tmp_path), "--json"]
    assert main([*arguments, "--model", "mine", "--variant", "levit"]) == 0
    made = json.loads(capsys.readouterr().out)
    artifact = read_artifact(tmp_path / "mine" / "levit" / "1")
    manifest = artifact.manifest
    assert made["manifest"] == json.loads((artifact.path / "manifest.json").read_text())
    assert (manifest.not_rehosted, manifest.encoding) == (None, "native")
    assert (manifest.parity.batches, manifest.parity.tolerance) == ((1, 2, 3, 7), 1e-4)
    assert manifest.graph.constant_only_nodes == 0
    assert manifest.graph.operators is not None
    assert manifest.graph.operators["index"][0] > manifest.graph.operators.get("index", (0, 0))[1] == 0
    tables = [line for line in manifest.baked if "attention_biases" in line.what]
    assert len(tables) >= 3
    assert all(line.kind == "static" and ".attn" in line.module for line in tables)

    pixels = np.random.default_rng(2).integers(0, 256, size=(5, 64, 64, 3), dtype=np.uint8)
    normalised = normalise(torch.from_numpy(pixels), Normalisation((0.5,) * 3, (0.5,) * 3)).float()
    with torch.no_grad():
        expected = loaded("levit").network(normalised).numpy()
    backend = OnnxRuntimeBackend(artifact, OnnxRuntimeBackend.resolve_device("cpu"), 1)
    try:
        found = backend.run(pixels)
    finally:
        backend.close()
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    with pytest.raises(AssertionError):  # the comparison above is able to fail
        np.testing.assert_allclose(found[::-1], expected, atol=1e-4 * np.abs(expected).max())


class Halving(nn.Module):
    """A network that compares images with the first half of their batch."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(48, 4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(x.flatten(1))
        return logits - logits[: len(x) // 2].sum(0)


def halving() -> tuple[nn.Module, dict[str, object]]:
    half = (0.5, 0.5, 0.5)
    return Halving().eval(), {"resize": (4, 4), "interpolation": "bicubic", "mean": half, "std": half}


def test_a_users_network_that_hard_codes_the_batch_leaves_no_artifact(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = "python:tests.export.test_library_modules:halving"
    arguments = [source, "--random-weights", "0", "--output", str(tmp_path / "here")]
    assert main(arguments) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: the logits of an image depend on the other images of its batch")
    assert message.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    assert main([*arguments, "--batch", "2:2", "--quiet"]) == 0
