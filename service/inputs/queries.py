"""Validation of query strings and body parameters; unknown names and two values for one name are errors."""

import re
from collections.abc import Collection
from functools import lru_cache
from typing import TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticKnownError

from service.inputs.parameter_names import given_twice, unknown_name
from service.problems.handlers import invalid_parameters

Q = TypeVar("Q", bound=BaseModel)

_REMEMBERED = 256
"""Number of cached query strings, and maximum size of a cached string in bytes."""


_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)


def check_integer(text: str) -> str:
    """Check an integer's text, because pydantic also accepts Python's notation, `1_0`, and surrounding spaces.

    Raises:
        PydanticKnownError: the text is not decimal digits.
    """
    if not _INTEGER.fullmatch(text):
        raise PydanticKnownError("int_parsing")
    return text


def check_number(text: str) -> str:
    """Check a number's text, like `check_integer`."""
    if not _NUMBER.fullmatch(text):
        raise PydanticKnownError("float_parsing")
    return text


def query_values(query_string: bytes, known: Collection[str]) -> dict[str, str]:
    """Return the query's values by name.

    Raises:
        InvalidParameterError: a name is unknown, or has two values.
    """
    values: dict[str, str] = {}
    for name, value in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True):
        if name not in known:
            raise unknown_name("query parameter", name, known)
        if values.setdefault(name, value) != value:
            raise given_twice(name, values[name], value)
    return values


def read_query(query_string: bytes, model: type[Q]) -> Q:
    """Return a query string as a frozen model.

    Raises:
        InvalidParameterError: a name is unknown, has two values, or an invalid value.
    """
    read = _read_once if len(query_string) <= _REMEMBERED else _read
    return read(query_string, model)


def with_body(query: Q, parameters: dict[str, str]) -> Q:
    """Return the parameters of the query combined with those of the body.

    Raises:
        InvalidParameterError: a parameter has different values in both, or an invalid value.
    """
    if not parameters:
        return query
    found = _validated(type(query), parameters)
    for name in query.model_fields_set & found.model_fields_set:
        if getattr(query, name) != getattr(found, name):
            raise given_twice(name, f"{getattr(query, name)} in the query", f"{getattr(found, name)} in the body")
    return query.model_copy(update=found.model_dump(exclude_unset=True))


def _read(query_string: bytes, model: type[Q]) -> Q:
    return _validated(model, query_values(query_string, model.model_fields))


_read_once = lru_cache(_REMEMBERED)(_read)


def _validated(model: type[Q], values: dict[str, str]) -> Q:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise invalid_parameters(error.errors(include_url=False)) from error
