"""Schema of the manifest, and its JSON Schema in docs/."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from artifact import Batch, Engine, Manifest, Preprocess, Rewrite, Rewrites, Source, VersionKey, read_artifact
from tests.artifact.drafts import ENGINE, write

SCHEMA = Path(__file__).parents[2] / "docs" / "manifest.schema.json"


def test_the_json_schema_in_docs_is_up_to_date() -> None:
    remedy = "write it again: python -m artifact.schema > docs/manifest.schema.json"
    assert json.loads(SCHEMA.read_text()) == Manifest.model_json_schema(), remedy


def test_a_manifest_written_as_json_is_the_same_manifest(tmp_path: Path) -> None:
    path, manifest = write(tmp_path)
    assert Manifest.model_validate_json((path / "manifest.json").read_text()) == manifest


def test_the_key_is_the_path_in_the_repository(tmp_path: Path) -> None:
    path, manifest = write(tmp_path, version=12)
    assert str(manifest.key) == str(path.relative_to(tmp_path)) == "pets/learned/12"
    assert manifest.key.name == "pets@learned"
    assert VersionKey("pets", "learned", 2) < manifest.key < VersionKey("pets", "shaw-k", 1)


def test_an_unmeasured_accuracy_is_absent(tmp_path: Path) -> None:
    path, _ = write(tmp_path)
    assert "accuracy" not in json.loads((path / "manifest.json").read_text())


def test_rewrites_are_read_unchanged_and_may_be_absent(tmp_path: Path) -> None:
    lines = (Rewrite(module="blocks.*", before="Slice, Concat", after="Gather", count=12),)
    rewrites = Rewrites(rewritten=12, declined=0, lines=lines)
    path, _ = write(tmp_path, rewrites=rewrites)
    assert read_artifact(path).manifest.rewrites == rewrites
    assert read_artifact(write(tmp_path, version=2)[0]).manifest.rewrites is None


@pytest.mark.parametrize("both", [{}, {"after": "Gather", "reason": "no cheaper plan"}])
def test_a_chain_is_rewritten_or_declined(both: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="either after or reason"):
        Rewrite(module="blocks.*", before="Slice, Concat", count=1, **both)


def preprocess(**changes: object) -> Preprocess:
    fields = {"resize": 256, "crop": (224, 224), "interpolation": "bicubic", "mean": (0, 0, 0), "std": (1, 1, 1)}
    return Preprocess.model_validate(fields | changes)


def test_the_input_size_is_that_of_the_crop_or_else_of_the_resize() -> None:
    assert preprocess().size == (224, 224)
    assert preprocess(resize=(32, 48), crop=None).size == (32, 48)


@pytest.mark.parametrize("changes", [{"crop": None}, {"resize": 200}, {"resize": (256, 200)}, {"std": (1, 0, 1)}])
def test_invalid_preprocessing_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        preprocess(**changes)


def test_the_origin_of_weights_is_required() -> None:
    with pytest.raises(ValidationError, match="sha256"):
        Source(name="x", weights="checkpoint")
    with pytest.raises(ValidationError, match="seed"):
        Source(name="x", weights="random")


def test_a_batch_whose_minimum_exceeds_its_maximum_is_refused() -> None:
    with pytest.raises(ValidationError, match="above"):
        Batch(min=3, max=2)


def test_an_engine_is_for_one_gpu_or_for_targets_and_its_profile_is_in_order() -> None:
    engine = Engine.model_validate(ENGINE)
    assert (str(engine.profile), engine.settings.tf32) == ("1:8:32", False)
    ahead = ENGINE | {"gpu": None, "targets": ("8.6", "12.0")}
    assert Engine.model_validate(ahead).targets == ("8.6", "12.0")
    for wrong in ({"gpu": None}, {"targets": ("8.6",)}, {"profile": {"min": 1, "opt": 9, "max": 8}}, {"more": 1}):
        with pytest.raises(ValidationError):
            Engine.model_validate(ENGINE | wrong)


def test_an_engine_belongs_to_target_tensorrt_and_is_listed(tmp_path: Path) -> None:
    engine = Engine.model_validate(ENGINE)
    with pytest.raises(ValidationError, match="an engine requires target tensorrt, this is portable"):
        write(tmp_path, engine=engine)
    with pytest.raises(ValidationError, match=r"files does not list the engine, model\.engine"):
        write(tmp_path, engine=engine, target="tensorrt")
