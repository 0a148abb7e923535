"""Writing of artifacts is atomic, whatever interrupts it."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from artifact import VersionExistsError, read_artifact, stage
from tests.artifact.drafts import LABELS, draft, write


def paths_in(directory: Path) -> set[str]:
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*")}


def test_an_exception_leaves_the_repository_unchanged(tmp_path: Path) -> None:
    write(tmp_path)
    before = paths_in(tmp_path)
    with pytest.raises(KeyboardInterrupt), stage(tmp_path, "pets", "other", 1) as staging:
        staging.graph.write_bytes(b"half of a gra")
        assert paths_in(tmp_path) != before  # there is something to remove
        raise KeyboardInterrupt
    assert paths_in(tmp_path) == before


def test_a_repository_created_by_a_failed_write_is_removed(tmp_path: Path) -> None:
    repository = tmp_path / "not" / "yet"
    with pytest.raises(OSError, match="disk full"), stage(repository, "pets", "learned", 1):
        raise OSError("disk full")
    assert paths_in(tmp_path) == set()


def test_a_block_without_a_commit_writes_nothing(tmp_path: Path) -> None:
    with stage(tmp_path, "pets", "learned", 1) as staging:
        staging.graph.write_bytes(b"graph")
    assert paths_in(tmp_path) == set()


def test_a_draft_that_breaks_the_schema_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValidationError), stage(tmp_path, "pets", "learned", 1) as staging:
        staging.graph.write_bytes(b"graph")
        staging.commit(draft(encoding=None), LABELS)
    assert paths_in(tmp_path) == set()


def test_an_existing_version_is_never_overwritten(tmp_path: Path) -> None:
    path, manifest = write(tmp_path)
    with pytest.raises(VersionExistsError, match="--version"):
        write(tmp_path, architecture="swin")
    assert read_artifact(path).manifest == manifest


def test_a_version_written_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(VersionExistsError), stage(tmp_path, "pets", "learned", 1) as late:
        path, manifest = write(tmp_path)
        late.graph.write_bytes(b"late")
        late.commit(draft(), LABELS)
    assert read_artifact(path).manifest == manifest
    assert [child.name for child in path.parent.iterdir()] == ["1"]


def test_an_artifact_is_visible_only_when_complete(tmp_path: Path) -> None:
    with stage(tmp_path, "pets", "learned", 1) as staging:
        staging.graph.write_bytes(b"graph")
        assert not staging.target.exists()
        staging.commit(draft(), LABELS)
        assert read_artifact(staging.target).manifest.version == 1


def test_artifacts_are_readable_by_other_users(tmp_path: Path) -> None:
    path, _ = write(tmp_path)
    assert path.stat().st_mode & 0o055 == 0o055
