"""tritonclient's asyncio client against a server process."""

import asyncio

import numpy as np
import pytest
from tritonclient.http import InferInput, InferRequestedOutput
from tritonclient.http.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from tests.service.pictures import encode
from tests.service.process import Running
from tests.service.protocol_v2.answers import expected_logits, floats, pixels
from tests.service.protocol_v2.test_triton_client import check, file_input, image_input

pytestmark = pytest.mark.slow


def test_tensors_and_files_in_every_form_return_the_logits(server: Running) -> None:
    async def run() -> None:
        async with InferenceServerClient(server.url.removeprefix("http://")) as client:

            async def infer(variant: str, tensor: InferInput, binary: bool, expected: np.ndarray) -> None:
                outputs = [InferRequestedOutput("logits", binary_data=binary)]
                check(await client.infer(f"colours@{variant}", [tensor], "1", outputs), expected)

            images, numbers = pixels(3), floats(3)
            files = [encode(image) for image in images]
            await asyncio.gather(
                *(
                    infer(variant, make, output, expected)
                    for output in (True, False)
                    for binary in (True, False)
                    for variant, make, expected in (
                        ("mean", image_input(images, binary=binary), images),
                        ("float", image_input(numbers, binary=binary), numbers),
                        ("mean", file_input(files, binary=binary), images),
                    )
                )
            )
            outputs = [InferRequestedOutput("logits", class_count=1)]
            best = await client.infer("colours@mean", [image_input(images, binary=True)], "1", outputs)
            winners = [int(text.split(b":")[1]) for text in best.as_numpy("logits")[:, 0]]
            assert winners == [int(np.argmax(row)) for row in expected_logits(images)]

    asyncio.run(run())


def test_every_other_endpoint_responds(server: Running) -> None:
    async def run() -> None:
        async with InferenceServerClient(server.url.removeprefix("http://")) as client:
            assert await client.is_server_live()
            assert await client.is_server_ready()
            assert await client.is_model_ready("colours@mean", "10")
            assert not await client.is_model_ready("colours@rope")
            assert (await client.get_server_metadata())["name"] == "posbake"
            assert (await client.get_model_metadata("colours@float"))["inputs"][0]["datatype"] == "FP32"
            assert (await client.get_model_config("colours@mean"))["max_batch_size"] == 8
            assert len(await client.get_model_repository_index()) == 5
            assert len((await client.get_inference_statistics())["model_stats"]) == 5
            for act in (client.load_model, client.unload_model):
                with pytest.raises(InferenceServerException, match="needs an admin key"):
                    await act("colours")

    asyncio.run(run())
