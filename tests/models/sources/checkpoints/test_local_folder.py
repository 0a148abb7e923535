"""`timm:local-dir:FOLDER`: options of the network and preprocessing of oblong images as saved by timm."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from timm.data.config import resolve_model_data_config
from timm.data.transforms_factory import create_transform
from timm.models import save_for_hf

from artifact import Preprocess
from imaging.pillow_resizing import resize_and_crop
from imaging.preprocess import Reading
from models.sources import Loaded, Overrides, Pretrained, load_source
from models.sources.preprocessing import at_size
from tests.models.sources.checkpoints.small import SWIN, SWIN_ARGS, VIT, VIT_ARGS, is_same, network


def test_a_folder_saved_by_timm_sets_the_options_of_its_network(tmp_path: Path) -> None:
    for source, options in (
        (VIT, VIT_ARGS | {"img_size": (128, 64), "global_pool": "avg"}),
        (SWIN, SWIN_ARGS | {"img_size": 192, "window_size": 12}),
    ):
        theirs = network(source, **options)
        save_for_hf(theirs, str(tmp_path), model_args=options)
        loaded = load_source(f"timm:local-dir:{tmp_path}", Pretrained(), Overrides())
        assert is_same(loaded, theirs)
        assert loaded.image_size in ((128, 64), (192, 192))


@pytest.mark.parametrize("mode", ["center", "squash"])
@pytest.mark.parametrize("image_size", [(200, 100), (120, 160), (50, 80), (311, 97)])
def test_oblong_images_are_preprocessed_as_in_timm(mode: str, image_size: tuple[int, int], tmp_path: Path) -> None:
    theirs = network(VIT, **VIT_ARGS, img_size=(128, 64))
    prepared = {"input_size": (3, 128, 64), "crop_mode": mode, "crop_pct": 0.9}
    theirs.pretrained_cfg |= prepared  # type: ignore[operator]
    save_for_hf(theirs, str(tmp_path), model_args=VIT_ARGS | {"img_size": (128, 64)})
    loaded: Loaded = load_source(f"timm:local-dir:{tmp_path}", Pretrained(), Overrides())
    noise = np.random.default_rng(0).integers(0, 256, (image_size[1], image_size[0], 3), np.uint8)
    image = Image.fromarray(noise)
    config: dict[str, Any] = resolve_model_data_config(theirs)  # type: ignore[no-untyped-call]
    config |= {"mean": (0, 0, 0), "std": (1, 1, 1)}
    expected = create_transform(**config)(image)
    pixels = Reading(10**6, resize_and_crop).pixels(image, loaded.preprocess)
    assert np.array_equal(pixels, (np.asarray(expected).transpose(1, 2, 0) * 255).round().astype(np.uint8))


def test_another_image_size_keeps_the_cropped_fraction() -> None:
    oblong = Preprocess(
        resize=(140, 70), crop=(128, 64), keep_aspect=True, interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3
    )
    square = at_size(oblong, (64, 64))
    assert (square.resize, square.crop, square.keep_aspect) == ((70, 70), (64, 64), True)
    squashed = at_size(oblong.model_copy(update={"keep_aspect": None}), (64, 128))
    assert (squashed.resize, squashed.crop) == ((70, 140), (64, 128))
