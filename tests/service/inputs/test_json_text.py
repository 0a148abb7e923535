"""JSON text of requests: limits and refusals."""

import json

import pytest

from service.inputs.json_text import MAX_DIGITS, MAX_VALUES, JsonError, parse_json


def test_json_is_parsed_as_by_the_standard_library() -> None:
    values: list[object] = [{"a": [1, -2.5e3, "é\u4e2d\U0001f600", None, True, {"b": []}]}, [], 7, "x", None, 2**70]
    for value in values:
        for text in (json.dumps(value).encode(), json.dumps(value, ensure_ascii=False, indent=1).encode()):
            assert parse_json(text) == value
            assert parse_json(b"\xef\xbb\xbf" + text) == value


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_another_character_encoding_is_refused_by_name(encoding: str) -> None:
    with pytest.raises(JsonError, match=r"UTF-(16|32).*; send it as UTF-8"):
        parse_json('{"a": 1}'.encode(encoding))


@pytest.mark.parametrize("text", [b"", b"{", b"[1,]", b"{'a': 1}", b"nul", b"01", b'"\xff"', b"[" * 1000, b"9" * 5000])
def test_invalid_json_is_refused(text: bytes) -> None:
    with pytest.raises(JsonError, match="Invalid JSON: "):
        parse_json(text)


def test_the_number_of_values_is_limited() -> None:
    assert len(parse_json(b"[%s0]" % (b"0," * (MAX_VALUES - 1)))) == MAX_VALUES
    for text in (
        b"[%s0]" % (b"0," * MAX_VALUES),
        b"[%s]" % (b"[]," * MAX_VALUES),
        b"{" * 3000,
        b'{"a":{}, ' * 1500,
        b'"%s"' % (b":" * 3000),
    ):
        with pytest.raises(JsonError, match="more than 2000 values"):
            parse_json(text)


@pytest.mark.parametrize(
    "form", ["[%s]", "[1, %s]", '{"a":%s}', '{"a": [\n\t%s], "b": 1}', "[-%s]", "[%s.5e3]", "[[0],%s]"]
)
@pytest.mark.parametrize("before", [0, 1, 17, 39])
def test_the_number_of_digits_is_limited_to_that_of_float64(form: str, before: int) -> None:
    longest = (" " * before + form % ("9" * MAX_DIGITS)).encode()
    assert parse_json(longest) == json.loads(longest)
    with pytest.raises(JsonError, match="a number of more than 320 digits; round it to float64"):
        parse_json((" " * before + form % ("9" * (MAX_DIGITS + 1))).encode())


def test_digits_in_strings_and_after_the_decimal_point_are_not_counted() -> None:
    for value in ("9" * 5000, "a" + "0" * 1000, {"7" * 1000: "8" * 1000}):
        assert parse_json(json.dumps(value).encode()) == value
    assert parse_json(b"[0.%s, 1e-%s1]" % (b"3" * 4000, b"0" * 4000)) == [1 / 3, 0.1]


def test_a_long_string_must_be_ascii() -> None:
    assert len(parse_json(b'"%s"' % (b"A" * 2**21))) == 2**21
    assert len(parse_json(b'"%s"' % (b"AAAA\\u002b" * 2**19))) == 5 * 2**19
    for wide in ("é", "\U0001f600", "\\u4e2d"):
        assert len(parse_json(f'"{wide}{"A" * 1000}"'.encode())) == 1001
        with pytest.raises(JsonError, match="must be ASCII"):
            parse_json(f'"{wide}{"A" * 2**21}"'.encode())


def test_the_number_of_escapes_in_a_long_string_is_limited() -> None:
    for escape, size in ((b"\\/", 2), (b"\\u002b", 6)):
        assert len(parse_json(b'"%s"' % (escape * (2**19 // size)))) == 2**19 // size
        with pytest.raises(JsonError, match="one byte in 8 of the JSON is a backslash; send base64 without escapes"):
            parse_json(b'"%s"' % (escape * 2**20))


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
def test_a_duplicate_member_is_refused_at_any_depth_and_with_escapes(text: str) -> None:
    with pytest.raises(JsonError, match="variant is given twice, as a and as b; give it once"):
        parse_json(text.encode())


def test_long_values_of_a_duplicate_member_are_shortened_in_the_message() -> None:
    with pytest.raises(JsonError) as caught:
        parse_json(b'{"%s": "%s", "%s": 1}' % (b"n" * 10_000, b"v" * 10_000, b"n" * 10_000))
    assert len(str(caught.value)) < 200


def test_a_member_may_be_repeated_with_the_same_value_or_null() -> None:
    assert parse_json(b'{"a": {"b": 1}, "a": {"b": 1}, "c": null, "c": 2, "c": null}') == {"a": {"b": 1}, "c": 2}
    values = {"a:b": ":", "list": [{"x": ":::"}, {"x": 1}], "n": float("inf")}
    assert parse_json(json.dumps(values).encode()) == values
