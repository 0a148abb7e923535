"""`evaluate`: accuracy of the exported graph on labelled files."""

import csv
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from artifact import Accuracy, Location, read_artifact
from artifact.text import escaped
from service.offline.__main__ import main
from service.offline.confusion import draw, write_matrix
from service.offline.evaluating import check_all
from service.offline.labelled import LabelledImages
from service.offline.scoring import Score
from service.offline.statistics import mcnemar, wilson
from tests.artifact.privileges import permissions_count
from tests.service.artifacts import LABELS, WEIGHTS, add_artifact

pytestmark = pytest.mark.slow

EXPECTED = {"irpe-product-contextual-k", "none"}


def evaluate(*arguments: object) -> int:
    return main(["evaluate", *map(str, arguments), "--threads", "2"])


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """Repository of `mean`, which classifies every image correctly, and `turned`, which confuses red and blue."""
    add_artifact(tmp_path / "two")
    add_artifact(tmp_path / "two", variant="turned", weights=np.ascontiguousarray(WEIGHTS[:, [2, 1, 0, 3]]))
    return tmp_path / "two"


def test_the_digits_variants_reach_the_accuracy_of_their_manifests(
    digits_repository: Path, digits_folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--repository", digits_repository, "--variants", ",".join(sorted(EXPECTED)))
    assert evaluate(digits_folders, *arguments, "--output", tmp_path / "out", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads((tmp_path / "out/report.json").read_text())
    right = {}
    for variant in report["variants"]:
        manifest = read_artifact(digits_repository / "digits" / variant["variant"] / "1").manifest
        assert manifest.accuracy is not None
        assert (variant["top1"], variant["count"]) == (manifest.accuracy.top1, manifest.accuracy.count)
        assert variant["top1_interval"] == list(wilson(round(360 * variant["top1"]), 360))
        assert variant["top5"] > variant["top1"]
        right[variant["variant"]] = round(360 * variant["top1"])
        with (tmp_path / "out" / f"{variant['variant']}-confusion.csv").open() as file:
            rows = list(csv.reader(file))
        matrix = np.array([row[1:] for row in rows[1:]], int)
        assert rows[0][1:] == [row[0] for row in rows[1:]] == [str(digit) for digit in range(10)]
        assert (matrix.sum(), matrix.trace()) == (360, right[variant["variant"]])
        assert [entry["right"] for entry in variant["recall"]] == matrix.diagonal().tolist()
        assert [entry["images"] for entry in variant["recall"]] == matrix.sum(axis=1).tolist()
    assert right.keys() == EXPECTED
    (test,) = report["comparisons"]
    assert test["first_only"] - test["second_only"] == right[test["variants"][0]] - right[test["variants"][1]]
    assert test["mcnemar_p"] == mcnemar(test["first_only"], test["second_only"]) < 0.001


def test_the_terminal_output_has_each_variant_and_mcnemars_test(
    two: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(pictures, "--repository", two) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "mean/1 │ 30 │ 100.00%" in out
    assert "turned/1 │ 30 │ 33.33%" in out
    assert (
        f"20 images classified correctly only by the first, 0 only by the second; McNemar's p = {2 * 0.5**20:.3g}"
        in out
    )


def test_csv_files_of_labels_and_of_indices_give_the_same_result(
    colours: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = []
    for kind in ("label", "index"):
        rows = [f"path,{kind}"]
        for path in sorted(pictures.rglob("*.png")):
            label = path.parent.name
            rows.append(f"{path.relative_to(tmp_path)},{label if kind == 'label' else LABELS.index(label)}")
        (tmp_path / f"{kind}.csv").write_text("\n".join(rows) + "\n")
        assert evaluate(tmp_path / f"{kind}.csv", "--repository", colours, "--json") == 0
        found.append(json.loads(capsys.readouterr().out)["variants"][0])
    assert found[0]["recall"] == found[1]["recall"]
    assert (found[0]["top1"], found[0]["count"], found[0]["dataset"]) == (1.0, 30, "label.csv")


def test_an_unreadable_image_is_excluded_and_the_exit_status_is_1(
    colours: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "red" / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert evaluate(pictures, "--repository", colours, "--json") == 1
    (found,) = json.loads(capsys.readouterr().out)["variants"]
    assert (found["count"], found["excluded"], found["top1"]) == (30, 1, 1.0)
    assert found["errors"][0]["path"] == str(pictures / "red" / "cut.png")
    assert evaluate(pictures, "--repository", colours) == 1
    assert "excluded" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["\udcff", "two\nlines", "\x1b[31mred"])
def test_names_that_a_terminal_or_a_manifest_cannot_hold_are_escaped(
    two: Path, pictures: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (pictures / "red" / f"{name}.png").write_bytes(b"not an image")
    folder = pictures.rename(pictures.with_name(name))
    assert evaluate(folder, "--repository", two, "--variants", "mean", "--record") == 1
    out = "".join(capsys.readouterr().out.split())
    shown = escaped(name)
    assert f"on{shown}," in out
    assert f"/{shown}/red/{shown}.png:thebodyisnotanimage" in out
    accuracy = read_artifact(two / "colours" / "mean" / "1").manifest.accuracy
    assert accuracy is not None
    assert accuracy.dataset == shown
    assert evaluate(folder / "absent", "--repository", two) == 1
    assert f"/{shown}/absent" in capsys.readouterr().err


def test_a_long_name_of_the_data_set_is_recorded_truncated(two: Path, pictures: Path) -> None:
    assert evaluate(pictures, "--repository", two, "--variants", "mean", "--record", "--dataset", "n" * 2000) == 0
    accuracy = read_artifact(two / "colours" / "mean" / "1").manifest.accuracy
    assert accuracy is not None
    assert accuracy.dataset == "n" * 199 + "…"


def test_unknown_labels_are_listed_with_those_of_the_network(
    colours: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "red").rename(pictures / "crimson")
    assert evaluate(pictures, "--repository", colours) == 1
    said = capsys.readouterr().err
    assert "not labels of the network: crimson; its labels are red, green, blue, grey; rename them, or give a" in said
    (tmp_path / "table.csv").write_text("path,index\na.png,4\n")
    assert evaluate(tmp_path / "table.csv", "--repository", colours) == 1
    assert "not labels of the network: 4; its labels are 0, 1, 2, 3; correct them" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("file,label\n", "expected the header path,label or path,index"),
        ("path,label\na.png\n", "line 2: expected a path and a label"),
        ("path,label\n", "contains no images"),
        ('path,label\n"a.png,red\n', "line 2"),
    ],
)
def test_an_invalid_csv_file_is_refused(
    colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, reason: str
) -> None:
    (tmp_path / "table.csv").write_text(content)
    assert evaluate(tmp_path / "table.csv", "--repository", colours) == 1
    assert reason in capsys.readouterr().err


def test_a_pipe_is_refused_because_it_cannot_be_read_several_times(
    colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "labels.csv")
    assert evaluate(tmp_path / "labels.csv", "--repository", colours) == 1
    assert "labels.csv is not a regular file" in capsys.readouterr().err


def test_images_that_vanish_before_the_run_end_it_with_one_sentence(
    colours: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def check_then_remove(
        path: Path, locations: Iterable[Location], dataset: str | None, *, record: bool
    ) -> list[tuple[Location, LabelledImages]]:
        checked = check_all(path, locations, dataset, record=record)
        shutil.rmtree(pictures)
        return checked

    monkeypatch.setattr("service.offline.evaluating.check_all", check_then_remove)
    assert evaluate(pictures, "--repository", colours) == 1
    assert "none of 30 images could be run" in capsys.readouterr().err


def test_a_folder_without_images_is_refused(colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty" / "red").mkdir(parents=True)
    assert evaluate(tmp_path / "empty", "--repository", colours) == 1
    assert "contains no images" in capsys.readouterr().err
    assert evaluate(tmp_path / "missing", "--repository", colours) == 1
    assert "No such file" in capsys.readouterr().err
    (tmp_path / "empty" / "red" / "bad.png").write_bytes(b"bad")
    assert evaluate(tmp_path / "empty", "--repository", colours) == 1
    assert "none of 1 images could be run" in capsys.readouterr().err


def test_the_accuracy_is_recorded_in_the_manifest(two: Path, pictures: Path) -> None:
    assert evaluate(pictures, "--repository", two, "--record", "--quiet") == 0
    for variant, top1 in (("mean", 1.0), ("turned", 1 / 3)):
        found = read_artifact(two / "colours" / variant / "1").manifest.accuracy
        assert found == Accuracy(dataset="pictures", top1=top1, count=30)
    assert evaluate(pictures, "--repository", two, "--record", "--quiet", "--dataset", "thirty") == 0
    found = read_artifact(two / "colours/mean/1").manifest.accuracy
    assert found is not None
    assert found.dataset == "thirty"


def test_without_permission_to_record_nothing_runs(
    two: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (two / "colours/turned/1").chmod(0o500)
    with permissions_count():
        assert evaluate(pictures, "--repository", two, "--record", "--output", tmp_path / "out") == 1
    (two / "colours/turned/1").chmod(0o700)
    assert "omit --record" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []
    assert read_artifact(two / "colours/mean/1").manifest.accuracy is None


def after_images(number: int, action: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Call a function after this number of images, of all variants together."""
    count, added = 0, Score.add

    def add(self: Score, *arguments: object) -> None:
        nonlocal count
        count += 1
        added(self, *arguments)  # type: ignore[arg-type]
        if count == number:
            action()

    monkeypatch.setattr(Score, "add", add)


def test_after_ctrl_c_finished_results_are_kept(
    two: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    after_images(35, lambda: os.kill(os.getpid(), signal.SIGINT), monkeypatch)
    assert evaluate(pictures, "--repository", two, "--record", "--output", tmp_path / "out", "--json") == 130
    found = capsys.readouterr()
    assert [variant["variant"] for variant in json.loads(found.out)["variants"]] == ["mean"]
    assert "results written before are kept" in found.err
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"mean-recall.csv", "mean-confusion.csv", "mean-confusion.png", "report.json"}
    assert read_artifact(two / "colours/mean/1").manifest.accuracy is not None
    assert read_artifact(two / "colours/turned/1").manifest.accuracy is None


def test_a_multi_label_network_is_refused(tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_artifact(tmp_path / "many", task="multi-label")
    assert evaluate(pictures, "--repository", tmp_path / "many") == 1
    assert "task multi-label; accuracy is defined for task single-label" in capsys.readouterr().err


def test_variants_are_not_compared_if_the_images_changed_between_them(
    two: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    after_images(30, lambda: shutil.move(pictures / "red" / "00.png", pictures / "red" / "99.png"), monkeypatch)
    assert evaluate(pictures, "--repository", two) == 1
    assert "changed between the runs of mean and turned" in capsys.readouterr().err


def test_the_plot_of_a_confusion_matrix_is_darker_for_larger_counts() -> None:
    picture = np.asarray(draw({(0, 0): 5, (1, 0): 5, (1, 1): 5}, ["a", "b"]).convert("L"))
    top, middle = 160, 160 + 500
    means = [
        picture[row : row + 500, column : column + 500].mean() for row in (top, middle) for column in (top, middle)
    ]
    assert means[0] < means[2] == pytest.approx(means[3], abs=1)
    assert means[2] < means[1] > 250


def test_many_classes_share_cells_of_the_plot_and_are_listed_as_pairs(tmp_path: Path) -> None:
    labels = [f"class {number}" for number in range(2500)]
    picture = draw({(2499, 0): 1}, labels)
    assert isinstance(picture, Image.Image)
    assert picture.getpixel((160, picture.height - 1)) != picture.getpixel((400, 400)) == (255, 255, 255)
    with (tmp_path / "matrix.csv").open("w") as file:
        write_matrix({(2499, 0): 1}, labels, file)
    assert (tmp_path / "matrix.csv").read_text().split() == ["label,predicted,images", "class", "2499,class", "0,1"]
