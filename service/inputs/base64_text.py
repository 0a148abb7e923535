"""Base64 decoding: RFC 4648's two alphabets, with or without padding and line breaks, or in a data URI."""

import binascii
import re

_WHITESPACE = b" \t\r\n\v\f"
_STANDARD = bytes.maketrans(b"-_", b"+/")
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/\-_ \t\r\n\v\f]")
_ALPHABET = "expected A-Z a-z 0-9 + / (or - _) and = at the end; send the file's bytes in base64"


def decode_base64(text: bytes) -> bytes:
    """Return the bytes that `text` encodes.

    Args:
        text: base64 or base64url, or a data URI (RFC 2397) of either.

    Raises:
        ValueError: the text is invalid; the message has the position of the first invalid character.
    """
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        start = _payload(text)
    digits = text[start:].translate(_STANDARD, _WHITESPACE).rstrip(b"=")
    if len(digits) % 4 != 1:
        try:
            return binascii.a2b_base64(digits + b"=" * (-len(digits) % 4), strict_mode=True)
        except binascii.Error:
            pass  # the position is found below
    wrong = _NOT_BASE64.search(text, start, len(text.rstrip(b"=" + _WHITESPACE)))
    if wrong is None:
        raise ValueError(
            f"its {len(digits)} base64 characters end in the middle of a byte: it is truncated; {_ALPHABET}"
        )
    raise ValueError(f"character {_shown(wrong[0])} at position {wrong.start()} is not base64; {_ALPHABET}")


def _payload(text: bytes) -> int:
    """Return the start of the base64: after the comma of a data URI, otherwise 0."""
    if text[:5].lower() != b"data:":
        return 0
    head, comma, _ = text[:1024].partition(b",")
    if not comma or not head.lower().rstrip().endswith(b";base64"):
        raise ValueError("a data URI must start with data:<media type>;base64, followed by the file in base64")
    return len(head) + 1


def _shown(character: bytes) -> str:
    return repr(character.decode()) if character.isascii() else f"of byte 0x{character[0]:02x}"
