"""`python:` sources: networks that a user's function returns, or an error with the remedy."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from models.sources import Checkpoint, Overrides, Pretrained, RandomWeights, SourceError, load_source
from models.sources.base import Weights
from tests.models.sources.libraries import logits_of

PREPARATION = '{"resize": 36, "crop": (32, 32), "interpolation": "bicubic", "mean": (0.5,) * 3, "std": (0.25,) * 3}'
NETWORKS = f"""
import warnings
import torch
from torch import nn
from mine.layers import Pool
from artifact import Preprocess

PREPARATION = {PREPARATION}

def network():
    return nn.Sequential(nn.Conv2d(3, 8, 8, stride=8), Pool(), nn.Linear(8, 5)).eval()

def good():
    return network(), PREPARATION

def checked():
    return network(), Preprocess.model_validate(PREPARATION)

def bare():
    return network()

def training():
    whole = network()
    whole[1].train()
    return whole, PREPARATION

def of_timm():
    import timm
    return timm.create_model("test_vit", img_size=(32, 64), num_classes=5)

def four_channels():
    return nn.Sequential(nn.Conv2d(4, 8, 8), Pool()).eval(), PREPARATION

def one_channel():
    return nn.Sequential(nn.Conv2d(1, 8, 8), Pool()).eval(), PREPARATION

def grey():
    return one_channel()[0], PREPARATION | dict(mean=(0.4,), std=(0.3,))

def script():
    with warnings.catch_warnings(action="ignore"):  # deprecated
        return torch.jit.script(nn.Linear(3, 4)), PREPARATION

def script_part():
    return nn.Sequential(network(), Pool(), script()[0]).eval(), PREPARATION

def half():
    return network().half(), PREPARATION

def double():
    whole = network()
    whole[2].bias = nn.Parameter(whole[2].bias.detach().double())
    return whole, PREPARATION

def raising():
    raise LookupError("no such layer")

def text():
    return "network"

def incomplete():
    return network(), {{"resize": 36, "crop": (32, 32)}}

def features():
    return network()[:1].eval(), PREPARATION

def dinov3():
    from transformers import DINOv3ViTConfig, DINOv3ViTModel
    config = DINOv3ViTConfig(image_size=32, patch_size=8, hidden_size=48, intermediate_size=96,
                             num_hidden_layers=2, num_attention_heads=3)
    return Classifier(DINOv3ViTModel(config), 48).eval(), PREPARATION

def sam():
    from transformers import SamVisionConfig, SamVisionModel
    config = SamVisionConfig(image_size=32, patch_size=8, hidden_size=48, output_channels=16, num_hidden_layers=2,
                             num_attention_heads=3, mlp_dim=96, global_attn_indexes=[1], window_size=2)
    return Classifier(SamVisionModel(config), 16).eval(), PREPARATION

def transformers_own():
    from transformers import ViTConfig, ViTForImageClassification
    config = ViTConfig(image_size=32, patch_size=8, hidden_size=48, intermediate_size=96, num_hidden_layers=1,
                       num_attention_heads=3, num_labels=4)
    return ViTForImageClassification(config).eval(), PREPARATION

class Classifier(nn.Module):
    def __init__(self, backbone, width):
        super().__init__()
        self.backbone, self.head = backbone, nn.Linear(width, 6)

    def forward(self, images):
        features = self.backbone(images).last_hidden_state
        return self.head(features.mean(1) if features.ndim == 3 else features.mean((2, 3)))
"""
LAYERS = """
from torch import nn

class Pool(nn.Module):
    def forward(self, images):
        return images.mean((2, 3))
"""


@pytest.fixture(autouse=True)
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Run in a directory with the package `mine`; remove its modules from sys.modules afterwards."""
    package = tmp_path / "mine"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "networks.py").write_text(NETWORKS)
    (package / "layers.py").write_text(LAYERS)
    (package / "broken.py").write_text("import no_such_library\n")
    (package / "wrong.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    yield package
    for name in [name for name in sys.modules if name.partition(".")[0] == "mine"]:
        del sys.modules[name]


def load(function: str, weights: Weights, overrides: Overrides | None = None) -> torch.nn.Module:
    return load_source(f"python:{function}", weights, overrides or Overrides()).network


def images(height: int = 32, width: int = 32) -> Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("function", ["good", "checked"])
def test_a_users_network_is_loaded_unchanged(function: str) -> None:
    path = list(sys.path)
    loaded = load_source(f"python:mine.networks:{function}", Pretrained(), Overrides())
    assert sys.path == path
    assert (loaded.name, loaded.architecture) == (f"python:mine.networks:{function}", "Sequential")
    assert loaded.encoding == "native"
    assert (loaded.num_classes, loaded.image_size, loaded.labels) == (5, (32, 32), None)
    assert (loaded.preprocess.resize, loaded.preprocess.std) == (36, (0.25, 0.25, 0.25))


def test_a_checkpoint_is_loaded_strictly(tmp_path: Path) -> None:
    theirs = load("mine.networks:good", RandomWeights(3))
    save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    ours = load("mine.networks:good", Checkpoint(tmp_path / "weights.safetensors"))
    assert torch.equal(logits_of(ours, images()), logits_of(theirs, images()))
    save_file({f"{key}.0": tensor for key, tensor in theirs.state_dict().items()}, tmp_path / "weights.safetensors")
    with pytest.raises(SourceError, match=r"missing: 0\.weight.*; unexpected: 0\.bias\.0.*Its architecture is not"):
        load("mine.networks:good", Checkpoint(tmp_path / "weights.safetensors"))


def test_random_weights_follow_their_seed() -> None:
    first, again, other = (logits_of(load("mine.networks:good", RandomWeights(seed)), images()) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("function", "classes"), [("dinov3", 6), ("sam", 6), ("transformers_own", 4)])
def test_networks_of_transformers_with_a_custom_head_are_loaded(function: str, classes: int) -> None:
    network = load(f"mine.networks:{function}", RandomWeights(0))
    logits = logits_of(network, images())
    assert logits.shape == (2, classes)
    assert logits.isfinite().all()
    positions = [p for name, p in network.named_parameters() if "pos" in name]
    with torch.no_grad():
        for position in positions:
            position.zero_()
    changed = not torch.allclose(logits_of(network, images()), logits, rtol=1e-3)
    assert changed == bool(positions) == (function != "dinov3")  # whose rotation is computed, not learned


def test_another_image_size_is_accepted_if_the_network_runs_at_it() -> None:
    loaded = load_source("python:mine.networks:good", Pretrained(), Overrides((64, 48)))
    assert loaded.image_size == loaded.preprocess.size == (64, 48)
    with pytest.raises(SourceError, match=r"does not run on normalised images of 64×48: ValueError"):
        load("mine.networks:transformers_own", Pretrained(), Overrides((64, 48)))
    with pytest.raises(SourceError, match=r"set (the sizes|it) in the function"):
        load("mine.networks:good", Pretrained(), Overrides(window_size=4))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("mine.networks", r"expected python:PACKAGE\.MODULE:FUNCTION"),
        ("../mine:good", r"expected python:PACKAGE\.MODULE:FUNCTION"),
        ("mine.network:good", r"no module mine\.network in /.*; run from the directory that holds it"),
        ("yours.networks:good", r"no module yours in /"),
        ("mine.broken:good", r"importing mine\.broken raises ModuleNotFoundError: No module named 'no_such_library'"),
        ("mine.wrong:good", r"importing mine\.wrong raises ZeroDivisionError: division by zero"),
        ("mine.networks:goood", r"has no function goood; it has network, good, checked"),
        ("mine.networks:raising", r"the function raises LookupError: no such layer"),
        ("mine.networks:text", r"returns str; expected \(network, preprocessing\)"),
        (
            "mine.networks:bare",
            r"without a preprocessing, a Sequential; return .*'interpolation': 'bicubic'",
        ),
        ("mine/network.py:good", r"the file /.*/mine/network\.py does not exist"),
        ("mine/networks.py:goood", r"has no function goood; it has network, good, checked"),
        ("mine/wrong.py:good", r"importing wrong\.py raises ZeroDivisionError: division by zero"),
        (
            "mine.networks:four_channels",
            r"takes 4 channels, but posbake's images are RGB: .* converts RGB to its channels",
        ),
        (
            "mine.networks:one_channel",
            r"takes 1 channel, but posbake's images are RGB: .*or a preprocessing with one mean",
        ),
        ("mine.networks:script", r"the network is TorchScript.*return the original nn\.Module"),
        ("mine.networks:script_part", r"its 2 is TorchScript"),
        ("mine.networks:half", r"0\.weight is float16, .*return network\.float\(\).*--precision"),
        ("mine.networks:double", r"2\.bias is float64, .*return network\.float\(\)"),
        ("mine.networks:incomplete", r"interpolation: Field required; mean: Field required.*expected one such as"),
        ("mine.networks:features", r"returns float32 \[2, 8, 4, 4\] for 2 images"),
    ],
)
def test_an_unusable_network_is_refused_with_the_remedy(function: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        load(function, Pretrained())


def test_a_network_in_train_mode_is_put_into_eval_mode_with_a_note() -> None:
    loaded = load_source("python:mine.networks:training", Pretrained(), Overrides())
    assert not any(module.training for module in loaded.network.modules())
    assert loaded.notes == ("the function returned its 1 in train mode; it was put into eval mode",)
    assert load_source("python:mine.networks:good", Pretrained(), Overrides()).notes == ()


def test_a_timm_module_alone_gets_timms_preprocessing_at_its_own_size() -> None:
    loaded = load_source("python:mine.networks:of_timm", Pretrained(), Overrides())
    assert (loaded.image_size, loaded.num_classes) == ((32, 64), 5)
    assert (loaded.preprocess.crop, loaded.preprocess.mean) == ((32, 64), (0.5, 0.5, 0.5))
    assert loaded.notes[1] == "preprocessing is taken from the module's pretrained_cfg (timm)"


def test_a_network_of_one_channel_gets_the_grey_values_of_pillow(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    grey = np.stack([np.asarray(Image.fromarray(each).convert("L")) for each in pixels])
    weights = load("mine.networks:grey", RandomWeights(2)).network
    assert isinstance(weights, torch.nn.Module)
    save_file(weights.state_dict(), tmp_path / "weights.safetensors")  # the user's keys
    loaded = load_source("python:mine.networks:grey", Checkpoint(tmp_path / "weights.safetensors"), Overrides())
    assert (loaded.architecture, loaded.preprocess.mean, loaded.preprocess.std) == (
        "Sequential",
        (0.4,) * 3,
        (0.3,) * 3,
    )
    normalised = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - 0.4) / 0.3
    expected = logits_of(weights, (torch.from_numpy(grey)[:, None] / 255 - 0.4) / 0.3)
    found = logits_of(loaded.network, normalised)
    # Pillow rounds by at most half a level, and the layers' gain is below 2.
    assert float((found - expected).abs().max()) < 0.5 / 255 / 0.3 * 2
    assert float((found - logits_of(weights, normalised[:, :1])).abs().max()) > 0.02  # the red channel alone differs


def test_the_exception_of_the_function_is_the_cause_of_the_error() -> None:
    with pytest.raises(SourceError) as caught:
        load("mine.networks:raising", Pretrained())
    assert isinstance(caught.value.__cause__, LookupError)
