import json

import pytest

from service.inputs.json_text import MAX_VALUES, JsonError, parse_json


def test_json_is_what_the_standard_library_says() -> None:
    values: list[object] = [{"a": [1, -2.5e3, "é\u4e2d\U0001f600", None, True, {"b": []}]}, [], 7, "x", None, 2**70]
    for value in values:
        for text in (json.dumps(value).encode(), json.dumps(value, ensure_ascii=False, indent=1).encode()):
            assert parse_json(text) == value
            assert parse_json(b"\xef\xbb\xbf" + text) == value


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_another_encoding_is_named(encoding: str) -> None:
    with pytest.raises(JsonError, match=r"UTF-(16|32).*; send it as UTF-8"):
        parse_json('{"a": 1}'.encode(encoding))


@pytest.mark.parametrize("text", [b"", b"{", b"[1,]", b"{'a': 1}", b"nul", b"01", b'"\xff"', b"[" * 1000, b"9" * 5000])
def test_what_is_not_json_is_refused(text: bytes) -> None:
    with pytest.raises(JsonError, match="Invalid JSON: "):
        parse_json(text)


def test_values_are_bounded() -> None:
    assert len(parse_json(b"[%s0]" % (b"0," * (MAX_VALUES - 1)))) == MAX_VALUES
    for text in (b"[%s0]" % (b"0," * MAX_VALUES), b"[%s]" % (b"[]," * MAX_VALUES), b"{" * 3000, b'{"a":{}, ' * 1500):
        with pytest.raises(JsonError, match="more than 2000 values"):
            parse_json(text)


def test_a_string_may_fill_a_body_if_its_characters_are_a_byte_each() -> None:
    assert len(parse_json(b'"%s"' % (b"A" * 2**21))) == 2**21
    assert len(parse_json(b'"%s"' % (b"\\u002b" * 2**19))) == 2**19
    for wide in ("é", "\U0001f600", "\\u4e2d"):
        assert len(parse_json(f'"{wide}{"A" * 1000}"'.encode())) == 1001
        with pytest.raises(JsonError, match="has to be ASCII"):
            parse_json(f'"{wide}{"A" * 2**21}"'.encode())


@pytest.mark.parametrize(
    "text",
    [
        '{"variant": "a", "variant": "b"}',
        '{"variant": "a", "\\u0076ariant": "b"}',
        '{"v\\u0061riant": "a", "variant": "b"}',
        '{"x": [{"variant": "a", "parameters": {"y": ":"}, "variant": "b"}]}',
        '{"variant": "a", "variant": null, "variant": "b"}',
    ],
)
def test_a_member_with_two_values_is_refused_at_any_depth_and_however_it_is_written(text: str) -> None:
    with pytest.raises(JsonError, match="variant is given twice, as a and as b; give it once"):
        parse_json(text.encode())


def test_what_a_member_has_twice_is_cut_in_the_message() -> None:
    with pytest.raises(JsonError) as caught:
        parse_json(b'{"%s": "%s", "%s": 1}' % (b"n" * 10_000, b"v" * 10_000, b"n" * 10_000))
    assert len(str(caught.value)) < 200


def test_a_member_may_be_repeated_with_the_same_value_or_null() -> None:
    assert parse_json(b'{"a": {"b": 1}, "a": {"b": 1}, "c": null, "c": 2, "c": null}') == {"a": {"b": 1}, "c": 2}
    values = {"a:b": ":", "list": [{"x": ":::"}, {"x": 1}], "n": float("inf")}
    assert parse_json(json.dumps(values).encode()) == values
