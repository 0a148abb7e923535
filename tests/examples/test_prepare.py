"""Preparation of photos: drawn digits are recognised afterwards, on white and dark paper and in shadow."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from PIL import Image, ImageDraw, ImageFilter

from examples.digits.prepare import INK, NoDigitError, as_scan, largest_sign, main, prepare

STROKES = {
    "0": [[(50, 15), (75, 30), (78, 60), (60, 88), (38, 85), (24, 60), (28, 30), (50, 15)]],
    "1": [[(35, 32), (55, 12), (55, 90)]],
    "2": [[(28, 32), (40, 15), (62, 16), (72, 32), (60, 52), (28, 88), (75, 86)]],
    "3": [[(30, 18), (62, 16), (70, 30), (50, 48), (72, 64), (66, 84), (30, 86)]],
    "4": [[(60, 12), (25, 62), (78, 62)], [(62, 40), (60, 92)]],
    "5": [[(70, 14), (34, 14), (32, 46), (60, 44), (72, 64), (60, 86), (28, 84)]],
    "6": [[(64, 14), (40, 36), (28, 66), (42, 88), (66, 82), (70, 62), (50, 52), (32, 64)]],
    "7": [[(26, 16), (74, 16), (46, 90)]],
    "8": [[(50, 14), (68, 28), (34, 62), (36, 84), (60, 86), (68, 66), (34, 32), (50, 14)]],
    "9": [[(68, 34), (50, 48), (32, 36), (42, 16), (66, 18), (68, 34), (62, 90)]],
}


def photo(digit: str, kind: str, width: int = 8) -> Image.Image:
    """Return a thin, off-centre digit on a sheet with noise; `kind` is plain, shadow, edge (of a shadow) or dark."""
    sheet = Image.new("L", (600, 800), 235)
    draw = ImageDraw.Draw(sheet)
    for line in STROKES[digit]:
        draw.line([(150 + 3 * x, 250 + 3 * y) for x, y in line], fill=60, width=width, joint="curve")
    grey = np.asarray(sheet.filter(ImageFilter.GaussianBlur(1)), np.float64)
    if kind == "shadow":
        grey *= np.linspace(1, 0.45, grey.shape[1])
    if kind == "edge":
        grey *= np.where(np.add.outer(np.arange(800), np.arange(600)) < 900, 0.5, 1.0)  # most of the sheet
    if kind == "dark":
        grey = 255 - grey
    grey += np.random.default_rng(0).normal(0, 4, grey.shape)
    return Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("kind", ["plain", "shadow", "edge", "dark"])
def test_drawn_digits_are_recognised_only_after_preparation(digits_repository: Path, kind: str) -> None:
    session = ort.InferenceSession(digits_repository / "digits" / "swin-table" / "1" / "model.onnx")
    photos = [photo(digit, kind) for digit in STROKES]
    plain = np.stack([np.asarray(sheet.convert("RGB").resize((32, 32), Image.Resampling.BICUBIC)) for sheet in photos])
    prepared = np.stack([prepare(sheet).pixels for sheet in photos])
    expected = np.arange(10)
    assert (session.run(None, {"image": plain})[0].argmax(axis=1) == expected).sum() <= 4
    assert (session.run(None, {"image": prepared})[0].argmax(axis=1) == expected).sum() >= 9


def test_the_largest_sign_is_prepared_and_dirt_and_borders_are_ignored() -> None:
    ink = np.zeros((100, 100), bool)
    ink[10:40, 10:16] = True  # a sign
    ink[30:80, 60:70] = ink[82:86, 60:70] = True  # the largest sign, of two adjacent parts
    ink[90, 40] = True  # dirt
    ink[:, 99] = True  # the paper's edge
    sign, signs = largest_sign(ink)
    assert signs == 2
    assert sign.shape == (56, 10)
    only_at_the_border = np.zeros((20, 20), bool)
    only_at_the_border[:, 5:9] = True
    assert largest_sign(only_at_the_border)[0].shape == (20, 4)


@pytest.mark.parametrize("width", [1, 4, 20])
def test_a_prepared_digit_has_the_data_sets_mean_ink_and_full_height(width: int) -> None:
    ring = np.ones((60, 50), bool)
    ring[width:-width, width:-width] = False
    cells = as_scan(ring)
    assert cells.mean() == pytest.approx(INK, abs=0.005) or cells.mean() > INK
    assert cells[0].max() > 0.5
    assert cells[-1].max() > 0.5
    assert cells[:, 0].max() == 0


def test_an_image_without_a_digit_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NoDigitError, match="nothing stands out from the paper"):
        prepare(Image.new("L", (100, 100), 200))
    empty = tmp_path / "empty.png"
    Image.new("L", (100, 100), 200).save(empty)
    assert main([str(empty), str(tmp_path / "out.png")]) == 1
    assert "write darker, or crop the photo" in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()


def test_the_command_writes_an_image_for_the_service(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet = photo("3", "plain")
    sheet.paste(sheet.crop((200, 250, 420, 540)).resize((110, 145)), (20, 20))
    sheet.save(tmp_path / "photo.jpg")
    assert main([str(tmp_path / "photo.jpg"), str(tmp_path / "out.png")]) == 0
    with Image.open(tmp_path / "out.png") as written:
        assert written.size == (32, 32)
    assert "2 signs; the largest is prepared" in capsys.readouterr().err
