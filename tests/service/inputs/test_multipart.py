import time

import pytest

from service.errors import InvalidBodyError
from service.inputs.multipart import MOST_PARTS, field_content

TYPE = "multipart/form-data; boundary=b"


def test_the_content_of_a_field_comes_back_byte_for_byte() -> None:
    for content in (b"", b"\0\xff", b"\r\n", b"\r\n--", b"--b", b"a\r\n--c\r\n\r\n-b", bytes(range(256)) * 300):
        body = b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n' + content + b"\r\n--b--\r\n"
        assert field_content(body, TYPE, "image") == content


def test_only_the_field_of_that_name_counts() -> None:
    part = b'--b\r\nX-Other: 1\r\ncontent-disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    body = part % (b"images", b"1") + part % (b"image", b"2") + part % (b"Image", b"3") + b"--b--"
    assert field_content(body, TYPE, "image") == b"2"
    assert field_content(body, TYPE, "images") == b"1"
    with pytest.raises(InvalidBodyError, match='found 0 fields "other"'):
        field_content(body, TYPE, "other")


def test_more_fields_than_anyone_needs_are_refused_before_they_are_read() -> None:
    part = b"--b\r\nA: b\r\n\r\n\r\n"
    image = b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\n1\r\n--b--'
    assert field_content(part * (MOST_PARTS - 1) + image, TYPE, "image") == b"1"
    start = time.perf_counter()
    with pytest.raises(InvalidBodyError, match="more than 1000 fields; send the image alone"):
        field_content(part * 800_000 + image, TYPE, "image")
    assert time.perf_counter() - start < 1  # all of them take 5 s
