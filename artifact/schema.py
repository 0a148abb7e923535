"""`python -m artifact.schema`: print the manifest's JSON Schema (`docs/manifest.schema.json`)."""

import json
import sys

from artifact.manifest import Manifest

if __name__ == "__main__":
    sys.stdout.write(json.dumps(Manifest.model_json_schema(), indent=2) + "\n")
