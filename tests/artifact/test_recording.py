"""Recording of an accuracy: atomic, and only in the manifest of the measured artifact."""

import stat
from pathlib import Path

import pytest

from artifact import Accuracy, ManifestError, RecordingError, check_recordable, read_artifact, record_accuracy
from tests.artifact.drafts import write
from tests.artifact.privileges import permissions_count

MEASURED = Accuracy(dataset="pictures of pets", top1=0.75, count=8)


def test_only_the_accuracy_of_the_manifest_changes(tmp_path: Path) -> None:
    path, before = write(tmp_path)
    (path / "manifest.json").chmod(0o640)
    check_recordable(path)
    assert record_accuracy(path, MEASURED, before) == before.model_copy(update={"accuracy": MEASURED})
    assert read_artifact(path).manifest.accuracy == MEASURED != before.accuracy
    assert stat.S_IMODE((path / "manifest.json").stat().st_mode) == 0o640
    assert [child.name for child in path.parent.iterdir()] == ["1"]


def test_an_accuracy_can_be_recorded_again(tmp_path: Path) -> None:
    path, before = write(tmp_path)
    record_accuracy(path, MEASURED, before)
    again = MEASURED.model_copy(update={"top1": 0.5})
    record_accuracy(path, again, before)
    assert read_artifact(path).manifest.accuracy == again


def test_an_artifact_that_replaced_the_measured_one_is_refused(tmp_path: Path) -> None:
    _, measured = write(tmp_path / "measured")
    path, other = write(tmp_path / "other", architecture="swin")
    with pytest.raises(RecordingError, match="the artifact was replaced after the measurement"):
        record_accuracy(path, MEASURED, measured)
    assert read_artifact(path).manifest == other


@pytest.mark.parametrize("directory", ["", ".."])
def test_a_missing_permission_is_detected_before_measuring_and_when_writing(tmp_path: Path, directory: str) -> None:
    path, before = write(tmp_path)
    closed = (path / directory).resolve()
    closed.chmod(0o500)
    try:
        with permissions_count():
            with pytest.raises(RecordingError, match="omit --record"):
                check_recordable(path)
            with pytest.raises(RecordingError, match="cannot be replaced: Permission denied"):
                record_accuracy(path, MEASURED, before)
    finally:
        closed.chmod(0o700)
    assert read_artifact(path).manifest == before


def test_a_task_without_accuracy_is_refused_before_measuring(tmp_path: Path) -> None:
    path, before = write(tmp_path, task="regression", accuracy=None)
    with pytest.raises(RecordingError, match="its task is regression"):
        check_recordable(path)
    with pytest.raises(ManifestError, match="accuracy requires task single-label"):
        record_accuracy(path, MEASURED, before)
