"""Configurations, parsed with Triton's own schema."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from export.process.command import DONE
from export.to_triton import main
from tests.export.triton_repository.repositories import image
from tests.export.triton_repository.test_refusals import lower_parity
from tests.service.artifacts import add_artifact
from tests.triton.environment import PYTHON
from tests.triton.server import skip_without_triton

pytestmark = pytest.mark.triton

PARSE = Path(__file__).parents[2] / "triton" / "parse_configs.py"


FLAGS = {
    "plain": (),
    "batching": (
        *("--batch-delay-ms", "1.5", "--max-queue", "9", "--timeout-ms", "250", "--instances", "3"),
        *("--models", "colours", "--variants", "mean"),
    ),
    "openvino": ("--backend", "openvino"),
    "accelerator tensorrt": ("--accelerator", "tensorrt"),
    "accelerator openvino": ("--accelerator", "openvino"),
}

Configs = dict[str, dict[str, Any]]
"""Parsed configurations, by model."""


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Configs]:
    """Return the configurations of an export with each of FLAGS."""
    skip_without_triton()
    directory = tmp_path_factory.mktemp("configs")
    artifacts = directory / "artifacts"
    add_artifact(artifacts, variant="mean")
    add_artifact(artifacts, variant="float", dtype="float32")
    add_artifact(artifacts, variant="half", precision="fp16", parity=lower_parity())
    add_artifact(artifacts, variant="single", input=image(1, 1))
    add_artifact(artifacts, model="ages", task="regression")
    outputs = {name: directory / name for name in FLAGS}
    for name, flags in FLAGS.items():
        assert main([str(artifacts), "--output", str(outputs[name]), "--quiet", *flags]) == DONE
    printed = subprocess.run([PYTHON, PARSE, *outputs.values()], check=True, capture_output=True, text=True).stdout
    found = {Path(path): config for path, config in json.loads(printed).items()}
    assert all(config["name"] == path.name for path, config in found.items())
    return {
        name: {path.name: config for path, config in found.items() if path.parent == output}
        for name, output in outputs.items()
    }


@pytest.mark.slow
def test_a_network_has_batching_a_bounded_queue_and_warm_up_at_one_and_the_largest_batch(
    parsed: dict[str, Configs],
) -> None:
    network = parsed["batching"]["colours.mean"]
    assert (network["backend"], network["max_batch_size"]) == ("onnxruntime", 64)
    assert network["version_policy"] == {"all": {}}
    assert network["instance_group"] == [{"count": 3}]  # KIND_AUTO is the default, which JSON leaves out
    assert network["dynamic_batching"] == {
        "max_queue_delay_microseconds": "1500",
        "default_queue_policy": {
            "default_timeout_microseconds": "250000",
            "allow_timeout_override": True,
            "max_queue_size": 9,
        },
    }
    (one, most) = network["model_warmup"]
    assert (one["batch_size"], most["batch_size"]) == (1, 64)
    assert one["inputs"]["image"]["dims"] == ["8", "6", "3"]
    assert network["output"][0]["label_filename"] == "labels.txt"


def test_tensors_are_those_of_the_artifact(parsed: dict[str, Configs]) -> None:
    found = parsed["plain"]
    inputs = {name: found[f"colours.{name}"]["input"] for name in ("mean", "float", "single")}
    layout = {"name": "image", "data_type": "TYPE_UINT8"}
    assert inputs["mean"] == [layout | {"format": "FORMAT_NHWC", "dims": ["8", "6", "3"]}]
    assert inputs["float"][0]["data_type"] == "TYPE_FP32"
    assert inputs["float"][0]["dims"] == ["3", "8", "6"]
    assert inputs["single"] == [layout | {"dims": ["1", "8", "6", "3"]}]
    single = found["colours.single"]
    assert "max_batch_size" not in single  # 0, the default
    assert "dynamic_batching" not in single
    assert "label_filename" not in found["ages.mean"]["output"][0]


def test_the_ensemble_joins_preprocessing_and_network(parsed: dict[str, Configs]) -> None:
    found = parsed["batching"]
    (pixels,) = (name for name in found if name.startswith("colours.pixels-"))
    ensemble = found["colours.mean.image"]
    assert ensemble["platform"] == "ensemble"
    steps = ensemble["ensemble_scheduling"]["step"]
    assert [(step["model_name"], step["model_version"]) for step in steps] == [(pixels, "1"), ("colours.mean", "1")]
    assert steps[0]["output_map"] == steps[1]["input_map"] == {"image": "image"}
    assert found[pixels]["output"][0]["dims"] == found["colours.mean"]["input"][0]["dims"]
    assert found[pixels]["parameters"]["max_pixels"] == {"string_value": "50000000"}


def test_openvino_reads_the_onnx_file_on_a_cpu(parsed: dict[str, Configs]) -> None:
    network = parsed["openvino"]["colours.mean"]
    assert (network["backend"], network["default_model_filename"]) == ("openvino", "model.onnx")
    assert network["instance_group"] == [{"kind": "KIND_CPU", "count": 1}]


def test_accelerators_name_their_device_and_tensorrt_one_profile_for_all_batches(
    parsed: dict[str, Configs],
) -> None:
    found = parsed["accelerator tensorrt"]
    assert found["colours.half"]["instance_group"][0]["kind"] == "KIND_GPU"
    (accelerator,) = found["colours.half"]["optimization"]["execution_accelerators"]["gpu_execution_accelerator"]
    assert accelerator == {
        "name": "tensorrt",
        "parameters": {
            "precision_mode": "FP16",
            "trt_profile_min_shapes": "image:1x8x6x3",
            "trt_profile_opt_shapes": "image:64x8x6x3",
            "trt_profile_max_shapes": "image:64x8x6x3",
        },
    }
    found = parsed["accelerator openvino"]
    accelerators = found["colours.mean"]["optimization"]["execution_accelerators"]
    assert accelerators == {"cpu_execution_accelerator": [{"name": "openvino"}]}
    assert found["colours.mean"]["instance_group"][0]["kind"] == "KIND_CPU"
