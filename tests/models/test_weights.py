"""Checkpoints: weights that do not fit exactly are refused, and code in a file is never run."""

import json
import pickle
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from models import ViT, build_network
from models.sources import Checkpoint, Overrides, Pretrained, RandomWeights, SourceError, load_source
from models.sources.checkpoints import read_checkpoint
from models.sources.checkpoints.advice import Advice
from models.sources.checkpoints.fit import check_fit
from models.sources.own import read_accuracy
from models.sources.posbake import read_config
from models.sources.positions import resample_embedding
from tests.models.networks import VIT_CLS


def config_file(folder: Path, **network: object) -> str:
    file = folder / "tiny.json"
    content = {
        "model": "tiny",
        "preprocess": {"resize": [32, 48], "interpolation": "bicubic", "mean": [0.5] * 3, "std": [0.5] * 3},
        "network": VIT_CLS.model_dump() | {"encodings": {"learned": {}}} | network,
    }
    file.write_text(json.dumps(content))
    return f"posbake:{file}"


def state(config: str) -> dict[str, torch.Tensor]:
    return build_network(read_config(config.removeprefix("posbake:"))[0].network).state_dict()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_weights_are_loaded_unchanged(tmp_path: Path, suffix: str) -> None:
    source = config_file(tmp_path)
    saved, file = state(source), tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(saved, file)
    else:
        torch.save({"model": saved}, file)
    loaded = load_source(source, Checkpoint(file), Overrides())
    assert not loaded.network.training
    for key, tensor in loaded.network.state_dict().items():
        assert torch.equal(tensor, saved[key])


def test_a_few_missing_and_unexpected_keys_are_named(tmp_path: Path) -> None:
    network = ViT(VIT_CLS)
    wrong = network.state_dict()
    for key in list(wrong)[:5]:
        wrong[f"module.{key}"] = wrong.pop(key)
    with pytest.raises(
        SourceError, match=r"missing: cls_token, .* and 2 more; unexpected: module\.cls_token, .* and 2"
    ):
        check_fit(wrong, network.state_dict(), tmp_path, Advice("posbake:tiny"))


def test_a_shape_that_differs_is_named_with_both_shapes(tmp_path: Path) -> None:
    network = ViT(VIT_CLS)
    wrong = network.state_dict() | {"head.weight": torch.zeros(11, 24)}
    with pytest.raises(SourceError, match=r"head\.weight is \[11, 24\], expected \[10, 24\]"):
        check_fit(wrong, network.state_dict(), tmp_path, Advice("posbake:tiny"))


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    network = ViT(VIT_CLS)
    broken = network.state_dict()
    broken["head.bias"] = broken["head.bias"].clone()
    broken["head.bias"][3] = float("nan")
    with pytest.raises(SourceError, match=r"NaN or infinity in head\.bias"):
        check_fit(broken, network.state_dict(), tmp_path, Advice("posbake:tiny"))


class Exploit:
    """An object that creates a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.mark,)


def test_a_pickle_that_would_run_code_is_refused_without_running_it(tmp_path: Path) -> None:
    mark, file = tmp_path / "executed", tmp_path / "weights.pth"
    torch.save({"weight": torch.zeros(1), "exploit": Exploit(mark)}, file)
    with pytest.raises(SourceError, match="more than tensors"):
        read_checkpoint(Checkpoint(file))
    assert not mark.exists()
    pickle.loads(pickle.dumps(Exploit(mark)))  # plain unpickling does run the code
    assert mark.exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"weights{suffix}"
    save_file({"a": torch.zeros(1000)}, file) if suffix == ".safetensors" else torch.save(
        {"a": torch.zeros(1000)}, file
    )
    file.write_bytes(file.read_bytes()[:1500])
    with pytest.raises(SourceError, match="truncated"):
        read_checkpoint(Checkpoint(file))


def test_a_file_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no checkpoint at"):
        read_checkpoint(Checkpoint(tmp_path / "none.safetensors"))
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(SourceError, match="no state_dict"):
        read_checkpoint(Checkpoint(tmp_path / "list.pth"))


def test_accuracy_is_read_from_the_checkpoint_and_dropped_for_a_resized_network(tmp_path: Path) -> None:
    source, file = config_file(tmp_path, encodings={"sincos": {}}), tmp_path / "weights.safetensors"
    accuracy = {"dataset": "pets", "top1": 0.75, "count": 4}
    save_file(state(source), file, {"accuracy": json.dumps(accuracy)})
    measured = load_source(source, Checkpoint(file), Overrides()).accuracy
    assert measured is not None
    assert measured.model_dump() == accuracy
    larger = load_source(source, Checkpoint(file), Overrides(image_size=(64, 48)))
    assert larger.accuracy is None
    assert larger.preprocess.size == larger.image_size == (64, 48)


@pytest.mark.parametrize("text", ["{", "{}", '{"dataset": "x", "top1": 2, "count": 1}'])
def test_an_unreadable_accuracy_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(SourceError, match="accuracy"):
        read_accuracy(text, tmp_path)


def test_another_image_size_resamples_a_learned_embedding_with_a_note(tmp_path: Path) -> None:
    source, file = config_file(tmp_path), tmp_path / "weights.safetensors"
    save_file(state(source), file)
    loaded = load_source(source, Checkpoint(file), Overrides(image_size=(64, 48)))
    table = loaded.network.get_parameter("position.table")
    assert table.shape == (1, 1 + 8 * 6, 24)
    assert loaded.resampled == ("position embedding from 4×6 to 8×6 tokens, bicubic with antialiasing",)
    expected = resample_embedding(state(source)["position.table"], (4, 6), (8, 6), extra_tokens=1)
    assert table.shape == expected.shape
    same = load_source(source, Checkpoint(file), Overrides(image_size=(32, 48)))
    assert same.resampled == ()


def test_weights_that_do_not_fit_are_refused_before_they_are_resampled(tmp_path: Path) -> None:
    source, file = config_file(tmp_path), tmp_path / "weights.safetensors"
    save_file(state(source) | {"position.table": torch.zeros(1, 49, 24)}, file)
    with pytest.raises(SourceError, match=r"position\.table is \[1, 49, 24\], expected \[1, 25, 24\]"):
        load_source(source, Checkpoint(file), Overrides(image_size=(64, 48)))


def test_random_weights_follow_their_seed_and_fill_the_tables(tmp_path: Path) -> None:
    source = config_file(tmp_path, encodings={"irpe-product-contextual-k": {}})
    first, again, other = (
        load_source(source, RandomWeights(seed), Overrides()).network.state_dict() for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)
    assert float(first["blocks.0.attention.encoding.k.product.table"].std()) > 0.3


def test_an_unusable_source_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"expected .*posbake:"):
        load_source("posbake", RandomWeights(0), Overrides())
    with pytest.raises(SourceError, match=r"expected .*posbake:"):
        load_source("keras:vgg", RandomWeights(0), Overrides())
    with pytest.raises(SourceError, match="vit_small_patch16_224"):
        load_source("posbake:vit_small", RandomWeights(0), Overrides())
    with pytest.raises(SourceError, match="no windows"):
        load_source(config_file(tmp_path), RandomWeights(0), Overrides(window_size=4))
    with pytest.raises(SourceError, match="posbake does not publish weights"):
        load_source(config_file(tmp_path), Pretrained(), Overrides())
    with pytest.raises(SourceError, match=r"network\.vit\.width"):
        load_source(config_file(tmp_path, width=0), RandomWeights(0), Overrides())
    with pytest.raises(SourceError, match=r"preprocess yields \(32, 48\), but the network takes \(32, 32\)"):
        load_source(config_file(tmp_path, image_size=[32, 32]), RandomWeights(0), Overrides())


@pytest.mark.parametrize(
    "name", ["swin_tiny_patch4_window7_224", "vit_small_patch16_224", "vit_small_patch16_224_irpe"]
)
def test_every_named_configuration_builds(name: str) -> None:
    config, _ = read_config(name)
    assert build_network(config.network) is not None


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        (lambda weight: weight.to(torch.int8), "strided int8"),
        (lambda weight: weight.to(torch.complex64), "strided complex64"),
        (lambda weight: weight.to_sparse(), "sparse_coo float32"),
        (lambda weight: weight.to("meta"), "meta float32"),
    ],
)
def test_weights_of_another_kind_than_the_network_s_are_refused(kind: object, found: str) -> None:
    assert callable(kind)
    expected = {"weight": torch.ones(2, 3), "steps": torch.tensor(1)}
    with pytest.raises(SourceError, match=re.escape(f"file.pth contains weight ({found}), expected dense")):
        check_fit(expected | {"weight": kind(expected["weight"])}, expected, "file.pth", lambda _: "")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precisions_fit(dtype: torch.dtype) -> None:
    expected = {"weight": torch.ones(2, 3), "steps": torch.tensor(1)}
    check_fit(expected | {"weight": torch.ones(2, 3, dtype=dtype)}, expected, "file.pth", lambda _: "")
