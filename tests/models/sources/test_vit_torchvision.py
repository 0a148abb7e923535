"""torchvision's ViT gives the same logits in ours."""

import pytest
import torch
from torchvision.models import vision_transformer

from models.sources.base import SourceError
from models.sources.families import TORCHVISION
from tests.models.sources.oracles import check_same, randomise_library, recognised


def library(**options: int) -> vision_transformer.VisionTransformer:
    sizes = {"image_size": 32, "patch_size": 8, "num_layers": 2, "num_heads": 3, "hidden_dim": 48, "mlp_dim": 100}
    model = vision_transformer.VisionTransformer(**sizes | {"num_classes": 7} | options)
    randomise_library(model)
    return model


def test_the_same_weights_give_the_same_logits() -> None:
    model = library()
    rehosted = recognised(model, TORCHVISION)
    assert (rehosted.config.encoding, rehosted.config.layer_norm_eps) == ("learned", 1e-6)
    check_same(model, rehosted)


def test_the_keys_of_published_files_are_taken() -> None:
    state = library().state_dict()
    rehosted = recognised(library(), TORCHVISION)
    published = {
        key.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2."): tensor
        for key, tensor in state.items()
    }
    assert published.keys() != state.keys()
    assert rehosted.adopt(published).keys() == state.keys()


def test_every_published_size_is_taken() -> None:
    for name in ("vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32", "vit_h_14"):
        with torch.device("meta"):
            model = getattr(vision_transformer, name)()
        config = recognised(model, TORCHVISION).config
        assert str(config.patch_size) == name.rpartition("_")[2]


def test_a_head_of_two_layers_is_refused() -> None:
    with pytest.raises(SourceError, match="a head of more than one layer"):
        recognised(library(representation_size=12), TORCHVISION)
