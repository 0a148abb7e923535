"""`python grpc_client.py ADDRESS MODEL FILES LOGITS`, in Triton's environment: send images over gRPC, 32 at a time.

tritonclient's gRPC client needs another version of protobuf than posbake. FILES is a .npz of encoded images, each an
array of bytes; LOGITS is the .npy file for the logits.
"""

import sys

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput


def main(address: str, model: str, source: str, target: str) -> None:
    """Send the images and write the logits."""
    with np.load(source) as arrays:
        files = [arrays[name].tobytes() for name in arrays.files]
    logits = []
    with InferenceServerClient(address) as client:
        for start in range(0, len(files), 32):
            batch = np.array(files[start : start + 32], object)[:, None]
            images = InferInput("image_bytes", batch.shape, "BYTES")
            images.set_data_from_numpy(batch)
            logits.append(client.infer(model, [images]).as_numpy("logits"))
    np.save(target, np.concatenate(logits))


if __name__ == "__main__":
    main(*sys.argv[1:])
