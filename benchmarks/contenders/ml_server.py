"""An MLServer runtime with one worker per core, for `benchmarks.serving`.

It implements the Open Inference Protocol over HTTP in JSON only. The shortest format that it accepts for a file is
base64 in a BYTES tensor. Following its documentation, it has one process of `parallel_workers` for each core. `debug`
is off, because it logs every request; free ports are chosen for gRPC and metrics. All other settings are MLServer's
defaults; it batches only if a model's settings request it.

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
    """The stages of one request; all run in a worker."""

    async def load(self) -> bool:
        """Load the model and run it once."""
        self.model = PlainModel(threads=1)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """The image is the only tensor."""
        labels, probabilities = zip(*self.model.classify(Base64Codec.decode_input(payload.inputs[0])[0]), strict=True)
        outputs = [
            StringCodec.encode_output("labels", list(labels)),
            NumpyCodec.encode_output("probabilities", np.array(probabilities, np.float32)),
        ]
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=outputs)


def settings(port: int, folder: Path) -> dict[str, dict[str, object]]:
    """Return the files of a folder that `mlserver start` serves."""
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
