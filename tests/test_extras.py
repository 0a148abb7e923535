"""Every extra can be installed with constraints.txt: all its packages are pinned to compatible versions."""

import re
from dataclasses import replace
from itertools import chain

import pytest
from packaging.version import Version

from tests.extras import ROOT, environments, read_index, resolve

INDEX = read_index()
EXTRAS = sorted(INDEX.extras.keys() - {""})
LINUX = next(environments())


def packages_of(extra: str) -> set[str]:
    """Return the packages that an extra installs on Linux."""
    return resolve(INDEX, extra, LINUX)[0]


@pytest.mark.parametrize("extra", EXTRAS)
def test_every_package_of_an_extra_is_pinned_to_an_allowed_version(extra: str) -> None:
    assert not {problem for environment in environments() for problem in resolve(INDEX, extra, environment)[1]}


def test_the_gpu_extra_installs_the_libraries_of_cuda_and_another_onnx_runtime() -> None:
    found = packages_of("gpu")
    assert {"onnxruntime-gpu", "nvidia-cuda-runtime", "nvidia-cudnn-cu13", "nvidia-cublas", "nvidia-curand"} <= found
    assert "nvidia-ml-py" in found
    others = {extra for extra in EXTRAS if "onnxruntime" in packages_of(extra)}
    assert {"export", "service"} <= others
    assert not others & {"gpu", "tensorrt", "openvino", "otel"}  # which are installed together with gpu


def test_tensorrt_is_not_part_of_any_other_extra() -> None:
    assert [extra for extra in EXTRAS if "tensorrt" in packages_of(extra)] == ["tensorrt"]


def test_every_pin_is_used_by_an_extra_or_the_makefile() -> None:
    used = set(chain.from_iterable(resolve(INDEX, extra, each)[0] for extra in EXTRAS for each in environments()))
    installed = (ROOT / "Makefile").read_text().replace("_", "-")
    others = {name for name in INDEX.pins.keys() - used if not re.search(rf"(?<![\w-]){name}(?![\w-])", installed)}
    assert not others
    assert "uv" not in used  # which the Makefile installs


@pytest.mark.parametrize(
    ("pins", "problem"),
    [
        ({"uvicorn": "0.60"}, "posbake requires uvicorn<0.55,>=0.38, constraints.txt has 0.60"),
        (
            {"nvidia-cufft": "11.9"},
            'onnxruntime-gpu requires nvidia-cufft~=12.0; extra == "cuda", constraints.txt has 11.9',
        ),
        ({"nvidia-curand": None}, "nvidia-curand, which onnxruntime-gpu requires, is not in constraints.txt"),
        ({"h11": None}, "h11, which uvicorn requires, is not in constraints.txt"),
        (
            {"onnxruntime-gpu": "1.32"},
            "onnxruntime-gpu 1.31.1 is recorded in uninstalled.json, constraints.txt has 1.32",
        ),
        ({"pillow": "13.1"}, "pillow 13.0.0 is installed, constraints.txt has 13.1"),
    ],
)
def test_a_pin_that_contradicts_a_requirement_is_found(pins: dict[str, str | None], problem: str) -> None:
    changed = {**INDEX.pins, **{name: Version(pin) for name, pin in pins.items() if pin is not None}}
    for name, pin in pins.items():
        if pin is None:
            del changed[name]
    assert problem in resolve(replace(INDEX, pins=changed), "gpu", LINUX)[1]


def test_a_package_without_metadata_is_found() -> None:
    unknown = replace(INDEX, recorded={})
    assert (
        "onnxruntime-gpu 1.31.1 is neither installed nor recorded in uninstalled.json"
        in resolve(unknown, "gpu", LINUX)[1]
    )
