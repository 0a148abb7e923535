"""Options of a library's constructor, as `--model-arg KEY=VALUE` gives them."""

from collections.abc import Collection, Mapping
from typing import Any

from models.sources.base import SourceError


def check_options(source: str, options: Mapping[str, Any], reserved: Collection[str]) -> dict[str, Any]:
    """Return options that may go to a constructor.

    Raises:
        SourceError: one of them chooses weights or devices, which is for the exporter to do.
    """
    refused = [option for option in options if option in reserved or option.startswith("_")]
    if refused:
        raise SourceError(
            f"{source}: --model-arg {refused[0]} is no option of the network; weights come from --checkpoint or "
            "--pretrained, and images have three channels"
        )
    return dict(options)


def described(options: Mapping[str, Any]) -> str:
    """Return options for an error, as they were given."""
    return ", ".join(f"{option}={value}" for option, value in options.items())
