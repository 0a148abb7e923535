"""`python parse_configs.py REPOSITORY …`, in Triton's environment: print model configurations as JSON, by path.

They are parsed with Triton's schema, model_config.proto, of which tritonclient contains a copy.
"""

import json
import sys
from pathlib import Path

from google.protobuf import json_format, text_format  # type: ignore[import-untyped]  # protobuf ships no types
from tritonclient.grpc.model_config_pb2 import ModelConfig


def main(*repositories: str) -> None:
    """Print the configurations; unknown fields and values are errors."""
    parsed = {
        str(file.parent): json_format.MessageToDict(
            text_format.Parse(file.read_text(), ModelConfig()), preserving_proto_field_name=True
        )
        for repository in repositories
        for file in Path(repository).glob("*/config.pbtxt")
    }
    sys.stdout.write(json.dumps(parsed))


if __name__ == "__main__":
    main(*sys.argv[1:])
