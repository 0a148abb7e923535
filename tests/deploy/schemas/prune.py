"""Pruning of custom resources' schemas to the members that our manifests use.

    python tests/deploy/schemas/prune.py CRD.yaml MANIFEST.yaml …

KServe's schemas alone have 2 MB. Members that no manifest uses are removed, and rejected in manifests: a new member is
accepted only after this command has found it in the project's own definition.
"""

import json
import sys
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent


def prune(schema: dict[str, Any], used: object, path: str = "") -> dict[str, Any]:
    """Return the schema of the members of `used`, with all other members forbidden.

    Raises:
        KeyError: a member is not in the schema.
    """
    kept = {name: value for name, value in schema.items() if name not in ("description", "properties", "items")}
    if "properties" in schema and isinstance(used, dict):
        known = schema["properties"]
        if unknown := used.keys() - known.keys() - {"metadata"}:
            raise KeyError(f"{path or 'the resource'} has no {', '.join(sorted(unknown))}")
        kept["properties"] = {name: prune(known[name], value, f"{path}.{name}") for name, value in used.items()}
        kept["additionalProperties"] = False
    elif "items" in schema and isinstance(used, list):
        kept["items"] = prune(schema["items"], _union(used), f"{path}[]")
    return kept


def _union(items: list[Any]) -> object:
    """Return one value that has the members of all items."""
    if not items or not all(isinstance(item, dict) for item in items):
        return items[0] if items else None
    names = {name for item in items for name in item}
    return {name: _merged([item[name] for item in items if name in item]) for name in sorted(names)}


def _merged(values: list[Any]) -> object:
    if all(isinstance(value, list) for value in values):
        return [item for value in values for item in value]
    return _union(values)


def main(definition: str, *manifests: str) -> None:
    """Write FOLDER/<kind>.json."""
    crd = yaml.safe_load(Path(definition).read_text())
    kind = crd["spec"]["names"]["kind"]
    used = [
        resource
        for manifest in manifests
        for resource in yaml.safe_load_all(Path(manifest).read_text())
        if resource["kind"] == kind
    ]
    version = used[0]["apiVersion"].rpartition("/")[2]
    schema = next(found["schema"]["openAPIV3Schema"] for found in crd["spec"]["versions"] if found["name"] == version)
    found = {"$comment": f"pruned from {crd['metadata']['name']}, Apache-2.0", **prune(schema, _union(used))}
    (FOLDER / f"{kind}.json").write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
