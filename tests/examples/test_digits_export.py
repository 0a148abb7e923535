"""Exports of the digits variants: which are made, which are up to date, and failures."""

import os
import shutil
from pathlib import Path

import pytest

from artifact import read_artifact
from examples.digits import export as digits
from export.process.command import FAILED

VARIANT = "sincos"


@pytest.fixture
def repository(digits_repository: Path, tmp_path: Path) -> Path:
    """Repository in which every variant is up to date."""
    copy = tmp_path / "repository"
    shutil.copytree(digits_repository, copy)
    for manifest in copy.rglob("manifest.json"):
        manifest.touch()  # newer than any source edited since the export
    return copy


def version_of(repository: Path) -> Path:
    return repository / "digits" / VARIANT / "1"


def make_old(repository: Path) -> None:
    os.utime(version_of(repository) / "manifest.json", (1, 1))


def test_up_to_date_variants_are_not_exported_again(repository: Path) -> None:
    before = {file: file.stat().st_ino for file in repository.rglob("manifest.json")}
    assert digits.main(["--output", str(repository)]) == 0
    assert {file: file.stat().st_ino for file in repository.rglob("manifest.json")} == before


def test_a_variant_is_outdated_if_missing_or_older_than_its_sources(repository: Path) -> None:
    make_old(repository)
    shutil.rmtree(repository / "digits" / "none")
    assert [name for name in digits.VARIANTS if digits.is_outdated(name, repository)] == ["none", VARIANT]


def test_an_outdated_variant_is_replaced_completely(repository: Path) -> None:
    make_old(repository)
    (version_of(repository) / "left-over").touch()
    assert digits.main(["--output", str(repository)]) == 0
    assert not (version_of(repository) / "left-over").exists()
    assert read_artifact(version_of(repository)).manifest.variant == VARIANT
    assert not digits.is_outdated(VARIANT, repository)


def test_the_first_failure_ends_the_exports_with_its_status(
    repository: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make_old(repository)
    shutil.rmtree(version_of(repository).parent)
    version_of(repository).parent.touch()  # a file in place of a directory
    shutil.rmtree(repository / "digits" / "swin-table")
    assert digits.main(["--output", str(repository)]) == FAILED
    assert "error: " in capfd.readouterr().err
    assert not (repository / "digits" / "swin-table").exists()
