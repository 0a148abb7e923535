"""Every encoding by name. A new one is a file here and a line in `ENCODINGS`."""

import inspect
from collections.abc import Mapping
from typing import Any

from models.encodings.base import ActsOn, Encoding, Place
from models.encodings.irpe import IRPEProductContextualK
from models.encodings.learned import Learned
from models.encodings.none import NoEncoding
from models.encodings.sincos import SinCos
from models.encodings.swin_table import SwinTable

ENCODINGS: dict[str, type[Encoding]] = {
    "irpe-product-contextual-k": IRPEProductContextualK,
    "learned": Learned,
    "none": NoEncoding,
    "sincos": SinCos,
    "swin-table": SwinTable,
}


def build_encoding(encodings: Mapping[str, Mapping[str, Any]], place: Place, acts_on: ActsOn) -> Encoding:
    """Return the one of `encodings` (options by name) that acts there, or `NoEncoding` if none does.

    Raises:
        ValueError: an unknown name, an unknown option, or two encodings that act on the same.
    """
    there = [name for name in encodings if _lookup(name).acts_on == acts_on]
    if not there:
        return NoEncoding(place)
    if len(there) > 1:
        raise ValueError(f"{' and '.join(there)} both act on the {acts_on}; choose one of them")
    cls, options = _lookup(there[0]), encodings[there[0]]
    known = list(inspect.signature(cls).parameters)[1:]
    unknown = [option for option in options if option not in known]
    if unknown:
        raise ValueError(f"{there[0]} has no option {', '.join(unknown)}; it has {', '.join(known) or 'none'}")
    return cls(place, **options)


def _lookup(name: str) -> type[Encoding]:
    try:
        return ENCODINGS[name]
    except KeyError:
        raise ValueError(f"unknown encoding {name!r}; known: {', '.join(sorted(ENCODINGS))}") from None
