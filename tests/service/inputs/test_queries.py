"""Query strings as models; short ones are cached."""

import pytest

from service.inputs.queries import _read_once, read_query
from service.problems.client_errors import InvalidParameterError
from service.routers.classify import ClassifyQuery
from service.routers.compare import CompareQuery


def test_a_short_query_is_parsed_once_for_each_model() -> None:
    query = b"model=only-here&top_k=3"
    first = read_query(query, ClassifyQuery)
    assert (first.model, first.top_k, first.variant) == ("only-here", 3, None)
    assert read_query(query, ClassifyQuery) is first
    assert type(read_query(query, CompareQuery)) is CompareQuery


def test_a_long_query_is_not_cached() -> None:
    before = _read_once.cache_info()
    query = b"model=" + b"x" * 300
    assert read_query(query, ClassifyQuery) == read_query(query, ClassifyQuery)
    assert _read_once.cache_info() == before


def test_a_refusal_is_not_cached() -> None:
    errors = []
    for _ in range(2):
        with pytest.raises(InvalidParameterError, match="top_k=0: ") as caught:
            read_query(b"top_k=0", ClassifyQuery)
        errors.append(caught.value)
    assert errors[0] is not errors[1]
