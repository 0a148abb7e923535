"""TensorRT support table (`tensorrt_support.json`), read and validated once.

The source is onnx-tensorrt's `docs/operators.md`; the file contains the version, the dates and the URLs.
"""

import re
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, StringConstraints, model_validator

from export.auditing.rules import Rule

Version = Annotated[str, StringConstraints(pattern=r"^\d+\.\d+$")]


class Operator(BaseModel):
    """Row of the table.

    Attributes:
        supported: True if TensorRT's parser supports the operator.
        types: supported types, by their names in the table.
        since: first TensorRT version with support, if the changelog contains it.
        rules: restrictions that can be checked in a graph.
        unchecked: restriction that cannot be checked in a graph; an audit reports it as information.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    supported: bool
    types: tuple[str, ...] = ()
    since: Version | None = None
    rules: tuple[Rule, ...] = ()
    unchecked: str | None = None

    @model_validator(mode="after")
    def _types_belong_to_what_is_supported(self) -> "Operator":
        if self.supported != bool(self.types):
            raise ValueError("supported operators, and no others, must have types")
        return self


class Support(BaseModel):
    """Support table.

    Attributes:
        source: URL of the table; `also`: URLs of the versions and of the rules for uint8.
        tensorrt: TensorRT version of the table.
        opset_max: last supported opset, by TensorRT version.
        uint8_casts_to: types to which a uint8 input may be cast.
        operators: operators of the standard domain, by name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: HttpUrl
    also: tuple[HttpUrl, ...]
    tensorrt: Version
    published: date
    retrieved: date
    opset_min: int = Field(ge=1)
    opset_max: dict[Version, int]
    uint8_casts_to: tuple[str, ...]
    operators: dict[str, Operator]

    @model_validator(mode="after")
    def _its_own_opset_is_known(self) -> "Support":
        if self.tensorrt not in self.opset_max:
            raise ValueError(f"opset_max lacks {self.tensorrt}, the version of the table")
        return self

    def check_version(self, tensorrt: str) -> str:
        """Check that the table covers a TensorRT version (`major.minor`), and return it.

        Raises:
            ValueError: it is not a version, or older or newer than those of the table.
        """
        if re.fullmatch(r"\d+\.\d+(\.\d+)*", tensorrt, re.ASCII) is None:
            raise ValueError(
                f"{tensorrt!r} is not a version of TensorRT; expected MAJOR.MINOR, such as {self.tensorrt}"
            )
        oldest = min(self.opset_max, key=version_order)
        if not version_order(oldest) <= version_order(tensorrt) <= version_order(self.tensorrt):
            raise ValueError(
                f"the support table covers TensorRT {oldest} to {self.tensorrt}, not {tensorrt}; "
                "docs/audit.md describes how to update it"
            )
        return tensorrt

    def last_opset(self, tensorrt: str) -> tuple[str, int]:
        """Return the newest TensorRT version up to `tensorrt` in `opset_max`, and its last opset."""
        known = max(
            (version for version in self.opset_max if version_order(version) <= version_order(tensorrt)),
            key=version_order,
        )
        return known, self.opset_max[known]


def version_order(version: str) -> tuple[int, ...]:
    """Return a sort key for versions: 10.9 sorts before 10.14.

    Raises:
        ValueError: the version does not consist of numbers separated by dots.
    """
    return tuple(map(int, version.split(".")))


@cache
def load_support() -> Support:
    """Return the support table of this package."""
    return Support.model_validate_json(files("export.auditing").joinpath("tensorrt_support.json").read_bytes())
