"""Base64 text in requests: accepted variants and refusals."""

import base64

import pytest

from service.inputs.base64_text import decode_base64

VALUES = [b"", b"\xff", b"\xfb\xef", b"\xfb\xef\xbe", bytes(range(256)), b"\x00" * 5]


@pytest.mark.parametrize("value", VALUES)
def test_every_variant_of_base64_gives_the_same_bytes(value: bytes) -> None:
    standard, url = base64.b64encode(value), base64.urlsafe_b64encode(value)
    lines = base64.encodebytes(value)
    for text in (standard, url, lines, lines.replace(b"\n", b"\r\n"), b" \t" + standard + b"\n"):
        for written in (text, text.rstrip(b"=\r\n "), b"data:image/png;base64," + text):
            assert decode_base64(written) == value
    assert decode_base64(b"Data:;charset=utf-8;BASE64," + standard) == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"ab!d", "character '!' at position 2 is not base64; expected A-Z a-z 0-9 + / (or - _)"),
        (b"abcd\n.", "character '.' at position 5"),
        ("abé".encode(), "character of byte 0xc3 at position 2"),
        (b"QQ==QUJD", "character '=' at position 2"),
        (b"=QUJD", "character '=' at position 0"),
        (b"QUJDR", "5 base64 characters end in the middle of a byte: it is truncated"),
        (b"Q===", "1 base64 characters end in the middle"),
        (b"data:image/png,QUJD", "a data URI must start with data:<media type>;base64,"),
        (b"data:image/png;base64", "a data URI must start with"),
        (b"data:image/png;base64,QU%44", "character '%' at position 24"),
        (b"https://example.org/7.png", "character ':' at position 5"),
    ],
)
def test_invalid_base64_is_refused_with_the_position(text: bytes, expected: str) -> None:
    with pytest.raises(ValueError, match="base64") as caught:
        decode_base64(text)
    assert expected in str(caught.value)
