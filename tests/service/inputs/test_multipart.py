"""Multipart forms: fields, boundaries, transfer encodings, and refusals."""

import base64
import quopri
import time

import pytest

from service.inputs.multipart import MAX_HEADERS, MOST_FIELDS, Field, decoded, read_fields
from service.problems.client_errors import InvalidBodyError

TYPE = "multipart/form-data; boundary=b"
HEAD = b'Content-Disposition: form-data; name="image"'


def content(body: bytes, content_type: str = TYPE) -> bytes:
    """Return the content of the only field."""
    (field,) = read_fields(body, content_type)
    assert field.name == "image"
    return field.content


def error(body: bytes, content_type: str = TYPE) -> str:
    with pytest.raises(InvalidBodyError) as caught:
        read_fields(body, content_type)
    return caught.value.detail


def test_the_content_of_a_field_is_unchanged() -> None:
    for value in (b"", b"\0\xff", b"\r\n", b"\r\n--", b"--b", b"a\r\n--c\r\n\r\n-b", b"\n--b", bytes(range(256)) * 300):
        body = b"--b\r\n" + HEAD + b'; filename="x"\r\n\r\n' + value + b"\r\n--b--\r\n"
        assert content(body) == value


def test_fields_are_returned_in_order_with_their_names() -> None:
    part = b'--b\r\nX-Other: 1\r\ncontent-disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    body = part % (b"images", b"1") + part % (b"image", b"2") + part % (b"images", b"3") + b"--b--"
    found = [(field.name, field.content) for field in read_fields(body, TYPE)]
    assert found == [("images", b"1"), ("image", b"2"), ("images", b"3")]
    assert read_fields(b"--b--", TYPE) == []


@pytest.mark.parametrize(
    "header",
    [
        b'form-data; name="image"; filename="a;name=b.png"',
        b"form-data; name=image",
        b'form-data; filename="a\\"; name=\\"b"; name="image"',
        b"form-data;name=\"image\";filename*=UTF-8''%e2%82%ac",
        b'form-data; NAME = "image" ; filename="\xc3\xa9"',
        b'form-data;\r\n name="image"',
        b'form-data;\r\n\tfilename="x";\r\n\t\tname="image"',
    ],
)
def test_a_fields_name_is_parsed_from_every_form_of_its_header(header: bytes) -> None:
    assert content(b"--b\r\nContent-Disposition: %s\r\n\r\nabc\r\n--b--" % header) == b"abc"


@pytest.mark.parametrize(
    ("boundary", "content_type"),
    [
        (b"b", "multipart/form-data; boundary=b"),
        (b"b", 'Multipart/Form-Data; charset=utf-8; Boundary="b"'),
        (b"----WebKitFormBoundary7MA4", "multipart/form-data; boundary=----WebKitFormBoundary7MA4"),
        (b'a b;c="d', 'multipart/form-data; boundary="a b;c=\\"d"'),
        (b"b" * 300, "multipart/form-data; boundary=" + "b" * 300),
    ],
)
def test_the_boundary_is_taken_from_the_content_type(boundary: bytes, content_type: str) -> None:
    assert content(b"--%s\r\n%s\r\n\r\nabc\r\n--%s--" % (boundary, HEAD, boundary), content_type) == b"abc"


@pytest.mark.parametrize(
    "body",
    [
        b"This is multipart.\r\n--b\r\n%s\r\n\r\na\r\nb\r\n--b--",
        b"\r\n\r\n--b\r\n%s\r\n\r\na\r\nb\r\n--b--\r\nepilogue",
        b"--b \t\r\n%s\r\n\r\na\r\nb\r\n--b--",
        b"--b\r\n%s\r\nContent-Type: text/plain;\r\n charset=x\r\n\r\na\r\nb\r\n--b--",
    ],
)
def test_text_that_rfc_2046_allows_around_a_field_is_ignored(body: bytes) -> None:
    assert content(body % HEAD) == b"a\r\nb"


def test_lines_may_end_with_line_feeds_alone() -> None:
    body = b"preamble\n--b\n%s\nContent-Type: image/png\n\na\r\nb\n\n--b--\n" % HEAD
    assert content(body) == b"a\r\nb\n"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "no line --b, the boundary in Content-Type"),
        (b"no parts at all", "no line --b"),
        (b"x--b\r\n", "no line --b"),
        (b"--b\r\n" + HEAD + b"\r\n\r\nabc", "ends before its closing boundary"),
        (b"--b\r\n" + HEAD + b"\r\n\r\nabc\r\n--b", "ends before its closing boundary"),
        (b"--b\r\n" + HEAD + b"\r\n\r\nabc\r\n--bc\r\n", "begins with the boundary and continues"),
        (b"--b", "ends before its closing boundary"),
        (b"--b\r\n" + HEAD + b"\r\nabc\r\n--b--", "field 0: no empty line ends its headers"),
        (b"--b\r\nA: " + b"x" * MAX_HEADERS + b"\r\n\r\nabc\r\n--b--", "within 8192 bytes"),
        (b"--b\r\n\r\nabc\r\n--b--", 'field 0: no header Content-Disposition: form-data; name="…"'),
        (b"--b\r\nContent-Disposition: form-data\r\n\r\nabc\r\n--b--", "field 0: no header"),
    ],
)
def test_an_invalid_multipart_body_is_refused_with_the_reason(body: bytes, expected: str) -> None:
    assert expected in error(body)


def test_a_type_without_a_boundary_is_refused() -> None:
    assert "has no boundary" in error(b"--b--", "multipart/form-data")
    assert "has no boundary" in error(b"--b--", "multipart/form-data; boundary=")


def test_too_many_fields_are_refused_before_they_are_parsed() -> None:
    part = b"--b\r\n" + HEAD + b"\r\n\r\n\r\n"
    assert len(read_fields(part * MOST_FIELDS + b"--b--", TYPE)) == MOST_FIELDS
    assert "more than 100 fields" in error(part * 200_000)


def test_a_transfer_encoding_is_decoded() -> None:
    value = bytes(range(256)) * 3
    assert decoded(Field("image", base64.encodebytes(value).replace(b"\n", b"\r\n"), "base64")) == value
    assert decoded(Field("image", quopri.encodestring(value), "quoted-printable")) == value
    for encoding in ("", "binary", "7bit", "8bit"):
        assert decoded(Field("image", value, encoding)) == value


def test_an_unknown_or_wrong_transfer_encoding_is_refused_by_name() -> None:
    with pytest.raises(
        InvalidBodyError, match="Content-Transfer-Encoding 'x-uuencode' is not supported; expected binary"
    ):
        decoded(Field("image", b"", "x-uuencode"))
    with pytest.raises(
        InvalidBodyError, match="not base64, contrary to its Content-Transfer-Encoding: character '!' at position 2"
    ):
        decoded(Field("image", b"ab!d", "base64"))


def test_the_header_of_a_transfer_encoding_is_case_insensitive() -> None:
    body = b"--b\r\n%s\r\ncontent-transfer-encoding: BASE64\r\n\r\nYWJj\r\n--b--" % HEAD
    (field,) = read_fields(body, TYPE)
    assert decoded(field) == b"abc"


def test_spaces_after_a_boundary_are_skipped_quickly() -> None:
    body = b"--b" + b" \t" * 2**21 + b"\r\n" + HEAD + b"\r\n\r\nx\r\n--b--"
    times = []
    for _ in range(5):
        begin = time.thread_time()
        assert content(body) == b"x"
        times.append(time.thread_time() - begin)
    assert min(times) < 0.1  # skipping them one by one took 0.3 s
