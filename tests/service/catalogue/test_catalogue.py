"""Catalogue: default variants, order of versions, and default models."""

from pathlib import Path

import pytest

from service.catalogue.catalogue import Catalogue
from service.catalogue.loading import load_catalogue
from service.problems.client_errors import InvalidParameterError, UnknownNameError
from service.settings import Settings
from tests.service.artifacts import add_artifact


def catalogue(path: Path, default_model: str | None = None) -> Catalogue:
    return load_catalogue(Settings(repository=path, default_model=default_model, threads=1))


def test_the_default_variant_is_the_most_accurate_with_ties_in_order_of_names(tmp_path: Path) -> None:
    for variant, top1 in (("z", 0.9), ("y", 0.95), ("x", 0.95), ("unmeasured", None), ("w", 0.0)):
        add_artifact(tmp_path, variant=variant, top1=top1)
    assert catalogue(tmp_path).default_variant("colours") == "x"


def test_a_variant_without_accuracy_is_ranked_after_one_with_accuracy_0(tmp_path: Path) -> None:
    add_artifact(tmp_path, variant="a")
    add_artifact(tmp_path, variant="b", top1=0.0)
    assert catalogue(tmp_path).default_variant("colours") == "b"


def test_without_any_accuracy_the_default_is_the_first_name(tmp_path: Path) -> None:
    add_artifact(tmp_path, variant="b")
    add_artifact(tmp_path, variant="a")
    assert catalogue(tmp_path).default_variant("colours") == "a"


def test_versions_are_sorted_as_numbers(tmp_path: Path) -> None:
    for version in (1, 10, 9):
        add_artifact(tmp_path, version=version)
    found = catalogue(tmp_path)
    assert [servable.key.version for servable in found.versions("colours", "mean")] == [1, 9, 10]
    assert found.find().key.version == 10


def test_a_request_must_name_one_of_several_models_unless_there_is_a_default(tmp_path: Path) -> None:
    add_artifact(tmp_path, model="colours")
    add_artifact(tmp_path, model="shades", variant="other")
    with pytest.raises(InvalidParameterError, match="several are served: colours, shades; name one") as caught:
        catalogue(tmp_path).find()
    assert caught.value.members == {"known": ["colours", "shades"]}
    found = catalogue(tmp_path, default_model="shades")
    assert found.find().key.model == "shades"
    assert found.find("colours").key.model == "colours"
    with pytest.raises(UnknownNameError, match="model 'shades' has no variant 'mean'; known: other"):
        found.find(variant="mean")
