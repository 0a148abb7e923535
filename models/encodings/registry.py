"""Registry of encodings by name. A new encoding is a file in this folder and a line in `ENCODINGS`."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from models.encodings import irpe
from models.encodings.alibi import ALiBi2D
from models.encodings.base import ActsOn, Encoding, Place
from models.encodings.beit_table import BEiTTable
from models.encodings.irpe import IRPE
from models.encodings.irpe_buckets import Mapping as IRPEMapping
from models.encodings.learned import Learned
from models.encodings.none import NoEncoding
from models.encodings.relpos_mlp import RelPosMLP
from models.encodings.rope import RoPE, RoPEMixed
from models.encodings.shaw import Shaw
from models.encodings.sincos import SinCos
from models.encodings.swin_log_cpb import SwinLogCPB
from models.encodings.swin_table import SwinTable


@dataclass(frozen=True)
class Registered:
    """Class of an encoding, and the options that its name determines."""

    cls: type[Encoding]
    settled: Mapping[str, Any] = field(default_factory=dict)

    @property
    def options(self) -> list[str]:
        """The options that a configuration may give."""
        _place, *options = inspect.signature(self.cls).parameters
        return [option for option in options if option not in self.settled]


ENCODINGS: dict[str, Registered] = {
    "alibi-2d": Registered(ALiBi2D),
    "beit-table": Registered(BEiTTable),
    "learned": Registered(Learned),
    "none": Registered(NoEncoding),
    "relpos-mlp": Registered(RelPosMLP),
    "rope": Registered(RoPE),
    "rope-mixed": Registered(RoPEMixed),
    "shaw-k": Registered(Shaw, {"on_values": False}),
    "shaw-kv": Registered(Shaw, {"on_values": True}),
    "sincos": Registered(SinCos),
    "swin-log-cpb": Registered(SwinLogCPB),
    "swin-table": Registered(SwinTable),
    **{
        f"irpe-{mapping}-{mode}-{on}": Registered(IRPE, {"mapping": mapping, "mode": mode, "on": on})
        for mapping in get_args(IRPEMapping)
        for mode in irpe.MODES
        for on in irpe.TARGETS
    },
}


def build_encoding(encodings: Mapping[str, Mapping[str, Any]], place: Place, acts_on: ActsOn) -> Encoding:
    """Return the encoding of `encodings` (options by name) that acts on `acts_on`, or `NoEncoding` if none does.

    Raises:
        ValueError: an unknown name, an unknown option, or two encodings that act on the same part.
    """
    there = [name for name in encodings if _lookup(name).cls.acts_on == acts_on]
    if not there:
        return NoEncoding(place)
    if len(there) > 1:
        raise ValueError(f"{' and '.join(there)} both act on the {acts_on}; choose one of them")
    registered, options = _lookup(there[0]), encodings[there[0]]
    known = registered.options
    unknown = [option for option in options if option not in known]
    if unknown:
        raise ValueError(f"{there[0]} has no option {', '.join(unknown)}; it has {', '.join(known) or 'none'}")
    return registered.cls(place, **registered.settled, **options)


def _lookup(name: str) -> Registered:
    try:
        return ENCODINGS[name]
    except KeyError:
        raise ValueError(f"unknown encoding {name!r}; known: {', '.join(sorted(ENCODINGS))}") from None
