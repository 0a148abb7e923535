"""Accepted differences from Triton: the rows of a table in docs/api.md, which gives the reasons."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """An accepted difference: its row in docs/api.md, the status of each server, and the requests that show it."""

    row: str
    triton: int
    posbake: int
    cases: tuple[str, ...]


_RESOURCES = ("metadata", "ready", "config", "stats")

DIFFERENCES = (
    Difference("live and ready", 200, 200, ("server live", "server ready", "model ready", "version ready")),
    Difference(
        "HEAD", 405, 200, ("HEAD of the server", "HEAD of live", *(f"HEAD of model {what}" for what in _RESOURCES))
    ),
    Difference(
        "unknown model or version at `/ready` and `/stats`",
        400,
        404,
        tuple(f"{what} of an unknown {part}" for what in ("ready", "stats") for part in ("model", "version")),
    ),
    Difference("list of models, `/v2/models`", 404, 200, ("list of models",)),
    Difference(
        "image files",
        200,
        200,
        ("model metadata", "version metadata", "model config", "version config", "statistics of all"),
    ),
    Difference("`image_bytes` of shape [n]", 400, 200, ("file, shape [1]",)),
    Difference("`image_bytes` in JSON", 400, 200, ("file in JSON as base64",)),
    Difference("raw body of several images", 400, 200, ("raw, 2 images",)),
    Difference(
        "optional member that is null",
        500,
        200,
        ("null id", "null parameters", "null outputs", "null parameter"),
    ),
    Difference(
        "invalid request",
        500,
        400,
        (
            *("index, no JSON", "no JSON", "a list", "no member inputs", "inputs is an object", "null inputs"),
            *("no name", "no shape", "no datatype", "null name", "null shape", "null data", "with a numeric id"),
            *("negative shape", "shape of texts", "too few numbers", "too many numbers", "a negative number"),
            *("a fraction", "a text among numbers", "data is a number"),
            *("binary_data is no boolean", "-1 classes", "classes as text", "timeout as text", "binary, size as text"),
        ),
    ),
    Difference("UINT8 above 255 in JSON", 200, 400, ("a number out of range",)),
    Difference("index with a list", 200, 400, ("index, a list",)),
    Difference("load and unload", 503, 403, ("load, not allowed here", "unload, not allowed here")),
)
ACCEPTED = {name: difference for difference in DIFFERENCES for name in difference.cases}
