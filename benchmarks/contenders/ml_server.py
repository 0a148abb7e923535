"""An MLServer runtime with one worker per core, for `benchmarks.serving`.

MLServer implements the Open Inference Protocol over HTTP in JSON only; the shortest format it accepts for a file is
base64 in a BYTES tensor. `parallel_workers` is the number of cores, as its documentation recommends. `debug` is off,
because it logs every request; gRPC and metrics use free ports. All other settings are MLServer's defaults, which do
not batch.

    POSBAKE_PLAIN_ARTIFACT=DIR python -m benchmarks.contenders.ml_server PORT FOLDER

writes the settings into the folder and serves it, as `mlserver start` does.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
from mlserver import MLModel
from mlserver.cli import main
from mlserver.codecs import Base64Codec, NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.plain_model import PlainModel


class Classifier(MLModel):  # type: ignore[misc]  # mypy runs where MLServer is not
    """A classifier; a worker runs all stages of a request."""

    async def load(self) -> bool:
        """Load the model and run it once."""
        self.model = PlainModel(threads=1)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Classify the image in the only input tensor."""
        labels, probabilities = zip(*self.model.classify(Base64Codec.decode_input(payload.inputs[0])[0]), strict=True)
        outputs = [
            StringCodec.encode_output("labels", list(labels)),
            NumpyCodec.encode_output("probabilities", np.array(probabilities, np.float32)),
        ]
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=outputs)


def settings(port: int, folder: Path) -> dict[str, dict[str, object]]:
    """Return the contents of the settings files that `mlserver start` reads, by file name."""
    server: dict[str, object] = {
        "debug": False,
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": 0,
        "metrics_port": 0,
        "metrics_dir": str(folder / "metrics"),
        "environments_dir": str(folder / "environments"),
        "parallel_workers": len(os.sched_getaffinity(0)),
    }
    model: dict[str, object] = {"name": "benchmark", "implementation": "benchmarks.contenders.ml_server.Classifier"}
    return {"settings.json": server, "model-settings.json": model}


if __name__ == "__main__":
    served = Path(sys.argv[2])
    served.mkdir()
    for name, values in settings(int(sys.argv[1]), served).items():
        (served / name).write_text(json.dumps(values), encoding="utf-8")
    sys.argv[1:] = ["start", str(served)]
    main()
