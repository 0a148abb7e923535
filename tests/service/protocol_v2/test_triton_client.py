"""NVIDIA's unmodified tritonclient against a server process: every endpoint, datatype and form."""

import base64
from collections.abc import Callable
from typing import Any

import httpx2
import numpy as np
import pytest
from numpy.typing import NDArray
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput, InferResult
from tritonclient.utils import InferenceServerException

from tests.service.artifacts import LABELS
from tests.service.pictures import encode
from tests.service.process import Running
from tests.service.protocol_v2.answers import expected_logits, floats, pixels

pytestmark = pytest.mark.slow

TOLERANCE = 1e-5  # relative; the graph sums in float32, these tests in float64
Images = NDArray[np.uint8] | NDArray[np.float32]


def image_input(images: Images, *, binary: bool) -> InferInput:
    tensor = InferInput("image", list(images.shape), "UINT8" if images.dtype == np.uint8 else "FP32")
    tensor.set_data_from_numpy(images, binary_data=binary)
    return tensor


def file_input(files: list[bytes], *, binary: bool) -> InferInput:
    tensor = InferInput("image_bytes", [len(files)], "BYTES")
    elements = files if binary else [base64.b64encode(file) for file in files]
    tensor.set_data_from_numpy(np.array(elements, object), binary_data=binary)
    return tensor


def check(result: InferResult, images: Images) -> None:
    found = result.as_numpy("logits")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected_logits(images), rtol=TOLERANCE, atol=1e-5)


@pytest.mark.parametrize("count", [1, 3, 8])
@pytest.mark.parametrize("binary_out", [True, False])
@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize(("variant", "make"), [("mean", pixels), ("float", floats)])
def test_tensors_of_every_datatype_and_form_return_the_logits(
    triton: InferenceServerClient,
    variant: str,
    make: Callable[[int], Images],
    binary_in: bool,
    binary_out: bool,
    count: int,
) -> None:
    images = make(count)
    outputs = [InferRequestedOutput("logits", binary_data=binary_out)]
    inputs = [image_input(images, binary=binary_in)]
    result = triton.infer(f"colours@{variant}", inputs, model_version="1", outputs=outputs)
    check(result, images)
    with pytest.raises(AssertionError):  # the comparison can fail
        check(result, 255 - images)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("count", [1, 5])
def test_files_are_decoded_and_prepared(triton: InferenceServerClient, count: int, binary: bool) -> None:
    images = pixels(count)
    files = [encode(image) for image in images]
    check(triton.infer("colours@mean", [file_input(files, binary=binary)], model_version="1"), images)


def test_files_may_have_shape_n_1_as_tritons_batched_strings_have(triton: InferenceServerClient) -> None:
    images = pixels(2)
    tensor = InferInput("image_bytes", [2, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[encode(image)] for image in images], object))
    check(triton.infer("colours@mean", [tensor], model_version="1"), images)


@pytest.mark.parametrize("binary", [True, False])
def test_classification_returns_the_best_classes_as_strings(triton: InferenceServerClient, binary: bool) -> None:
    images = pixels(2)
    outputs = [InferRequestedOutput("logits", binary_data=binary, class_count=3)]
    inputs = [image_input(images, binary=True)]
    found = triton.infer("colours@mean", inputs, model_version="1", outputs=outputs).as_numpy("logits")
    assert found.shape == (2, 3)
    for row, logits in zip(found, expected_logits(images), strict=True):
        best = sorted(range(4), key=lambda index: -logits[index])[:3]
        for text, index in zip(row, best, strict=True):
            value, found_index, label = (text.decode() if isinstance(text, bytes) else text).split(":")
            assert (int(found_index), label) == (index, LABELS[index])
            assert float(value) == pytest.approx(logits[index], abs=1e-4)


def test_the_response_contains_id_and_names(triton: InferenceServerClient) -> None:
    inputs = [image_input(pixels(1), binary=True)]
    found = triton.infer("colours@mean", inputs, model_version="2", request_id="mine").get_response()
    assert (found["id"], found["model_name"], found["model_version"]) == ("mine", "colours@mean", "2")
    found = triton.infer("colours", inputs, parameters={"variant": "mean"}).get_response()
    assert "id" not in found
    assert (found["model_name"], found["model_version"]) == ("colours", "10")
    assert found["parameters"] == {"variant": "mean", "batch_size": 1}


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_requests_are_accepted(triton: InferenceServerClient, algorithm: str) -> None:
    images = pixels(2)
    options = {"request_compression_algorithm": algorithm, "response_compression_algorithm": algorithm}
    inputs = [image_input(images, binary=True)]
    check(triton.infer("colours@mean", inputs, model_version="1", **options), images)


def test_concurrent_requests_get_their_own_responses(server: Running) -> None:
    sets = [pixels(3)[index : index + 1] for index in range(3)] * 8
    with InferenceServerClient(server.url.removeprefix("http://"), concurrency=8) as client:
        requests = [
            client.async_infer("colours@mean", [image_input(images, binary=True)], model_version="1") for images in sets
        ]
        for images, request in zip(sets, requests, strict=True):
            check(request.get_result(), images)


def test_server_metadata_states_name_and_extensions(triton: InferenceServerClient) -> None:
    assert triton.is_server_live()
    assert triton.is_server_ready()
    found = triton.get_server_metadata()
    assert found["name"] == "posbake"
    assert "binary_tensor_data" in found["extensions"]


@pytest.mark.parametrize(("name", "version"), [("colours", ""), ("colours@mean", ""), ("colours@mean", "2")])
def test_models_are_ready(triton: InferenceServerClient, name: str, version: str) -> None:
    assert triton.is_model_ready(name, version)


@pytest.mark.parametrize(("name", "version"), [("birds", ""), ("colours@rope", ""), ("colours@mean", "3"), ("", "")])
def test_unknown_models_are_not_ready(triton: InferenceServerClient, name: str, version: str) -> None:
    assert not triton.is_model_ready(name, version)


@pytest.mark.parametrize(("variant", "datatype", "shape"), [("mean", "UINT8", [8, 6, 3]), ("float", "FP32", [3, 8, 6])])
def test_metadata_and_configuration_describe_inputs_and_outputs(
    triton: InferenceServerClient, variant: str, datatype: str, shape: list[int]
) -> None:
    name = f"colours@{variant}"
    metadata = triton.get_model_metadata(name)
    assert metadata["name"] == name
    assert metadata["versions"] == (["1", "2", "10"] if variant == "mean" else ["1"])
    assert metadata["inputs"] == [
        {"name": "image", "datatype": datatype, "shape": [-1, *shape]},
        {"name": "image_bytes", "datatype": "BYTES", "shape": [-1, 1]},
    ]
    assert metadata["outputs"] == [{"name": "logits", "datatype": "FP32", "shape": [-1, 4]}]
    config = triton.get_model_config(name, "1")
    assert config["max_batch_size"] == 8  # the server's MAX_BATCH; the artifact allows 64
    assert [(i["name"], i["data_type"], i["dims"]) for i in config["input"]] == [
        ("image", f"TYPE_{datatype}", shape),
        ("image_bytes", "TYPE_STRING", [1]),
    ]
    assert [(o["name"], o["data_type"], o["dims"]) for o in config["output"]] == [("logits", "TYPE_FP32", [4])]
    assert config["dynamic_batching"]["max_queue_delay_microseconds"] == 0


def test_the_repository_index_lists_every_version(triton: InferenceServerClient) -> None:
    found = [(entry["name"], entry["version"], entry["state"]) for entry in triton.get_model_repository_index()]
    assert found == [
        ("colours@float", "1", "READY"),
        *(("colours@mean", version, "READY") for version in ("1", "2", "10")),
        ("colours@nan", "1", "READY"),
    ]


def test_loading_and_unloading_are_disabled_without_keys(triton: InferenceServerClient) -> None:
    for act in (triton.load_model, triton.unload_model):
        with pytest.raises(InferenceServerException, match="needs an admin key") as refused:
            act("colours")
        assert refused.value.status() == "403"
    assert triton.is_model_ready("colours")


def stats_of(triton: InferenceServerClient, *name: str) -> dict[str, Any]:
    (found,) = triton.get_inference_statistics(*name)["model_stats"]
    stats: dict[str, Any] = found
    return stats


def test_statistics_count_requests_of_both_interfaces(triton: InferenceServerClient, server: Running) -> None:
    name = ("colours@mean", "2")
    before = stats_of(triton, *name)
    triton.infer("colours@mean", [image_input(pixels(3), binary=True)], model_version="2")
    triton.infer("colours@mean", [image_input(pixels(3), binary=False)], model_version="2")
    httpx2.post(f"{server.url}/v1/classify?variant=mean&version=2", content=encode(pixels(1)[0])).raise_for_status()
    assert httpx2.post(f"{server.url}/v1/classify?variant=mean&version=2", content=b"no").status_code == 400
    with pytest.raises(InferenceServerException):
        triton.infer("colours@mean", [file_input([b"no"], binary=True)], model_version="2")
    after = stats_of(triton, *name)
    assert (after["name"], after["version"]) == name
    assert after["inference_count"] - before["inference_count"] == 7
    assert after["execution_count"] - before["execution_count"] == 3
    assert after["last_inference"] > 1.7e12
    for stage, count in {"success": 3, "fail": 2, "queue": 3, "compute_infer": 3, "compute_output": 3}.items():
        then, now = before["inference_stats"][stage], after["inference_stats"][stage]
        assert now["count"] - then["count"] == count
        assert now["ns"] > then["ns"]
    assert {batch["batch_size"] for batch in after["batch_stats"]} == {1, 3}
    everything = triton.get_inference_statistics()["model_stats"]
    assert [found["version"] for found in everything if found["name"] == "colours@mean"] == ["1", "2", "10"]
    assert len(triton.get_inference_statistics("colours@mean")["model_stats"]) == 3


def refused(triton: InferenceServerClient, model: str, inputs: list[InferInput], **options: object) -> tuple[str, str]:
    """Send a request that fails, and return status and message; check that another request succeeds afterwards."""
    with pytest.raises(InferenceServerException) as error:
        triton.infer(model, inputs, **options)
    assert "Traceback" not in str(error.value)
    triton.infer("colours@mean", [image_input(pixels(1), binary=True)])
    return str(error.value.status()), str(error.value.message())


def test_more_images_than_the_maximum_batch_are_refused(triton: InferenceServerClient) -> None:
    status, message = refused(triton, "colours@mean", [image_input(pixels(9), binary=True)])
    assert status == "400"
    assert "9 images in one request, colours@mean takes 1 to 8" in message


def test_a_damaged_file_is_named_by_its_index(triton: InferenceServerClient) -> None:
    files = [encode(pixels(1)[0]), b"I am no picture"]
    status, message = refused(triton, "colours@mean", [file_input(files, binary=True)])
    assert status == "400"
    assert message.startswith("element 1 of 'image_bytes': the body is not an image")


def test_errors_have_the_matching_status(triton: InferenceServerClient) -> None:
    inputs = [image_input(pixels(1), binary=True)]
    assert refused(triton, "birds", inputs)[0] == "404"
    assert refused(triton, "colours@mean", inputs, model_version="3") == (
        "404",
        "model 'colours', variant 'mean' has no version '3'; known: 1, 2, 10",
    )
    assert refused(triton, "colours@mean", inputs, parameters={"variant": "float"})[0] == "400"
    assert refused(triton, "colours", inputs, parameters={"variant": "rope"})[0] == "404"
    assert (
        refused(triton, "colours@mean", [image_input(np.zeros((8, 200, 200, 3), np.uint8), binary=False)])[0] == "413"
    )
    status, message = refused(triton, "colours@nan", inputs)
    assert (status, "not all finite" in message) == ("500", True)
    status, message = refused(triton, "colours@mean", inputs, outputs=[InferRequestedOutput("probabilities")])
    assert (status, "'probabilities'" in message) == ("400", True)


def test_half_precision_has_no_json_form(triton: InferenceServerClient) -> None:
    tensor = InferInput("image", [1, 3, 8, 6], "FP16")
    tensor.set_data_from_numpy(floats(1).astype(np.float16))
    assert refused(triton, "colours@float", [tensor]) == ("400", "input 'image' has datatype 'FP16', expected FP32")
