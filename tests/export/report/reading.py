"""Parser of a report page: matching tags, no external resources, text, and pixels of the images."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
from PIL import Image

VOID = {"meta", "img", "wbr"}
Attributes = list[tuple[str, str | None]]


class Page(HTMLParser):
    """A page that is well formed and self-contained.

    Raises:
        AssertionError: tags do not match, or the page loads or runs something.
    """

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.words: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == [], f"unclosed tags: {self.open}"
        assert "script" not in self.tags
        assert {"html", "title", "h1", "h2", "main"} <= set(self.tags)

    def handle_starttag(self, tag: str, attributes: Attributes) -> None:
        self.tags.append(tag)
        for name, value in attributes:
            assert not name.startswith("on"), f"{tag} runs code {name}"
            if name in {"src", "href", "srcset", "action", "data"}:
                assert (value or "").startswith("data:image/png;base64,"), f"{tag} loads {value}"
            if name == "style":
                assert re.fullmatch(r"(width|left):\d+\.\d\d%", value or ""), value
        if tag == "img":
            self.images.append(dict(attributes))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> has no opening tag"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            assert "url(" not in data
            assert "@import" not in data
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        """All text, with single spaces and without <wbr>."""
        return " ".join("".join(self.words).split())

    def images_of(self, name: str) -> list[np.ndarray]:
        """Return the pictures of a constant, each RGB [rows, columns, 3]."""
        return [decode(image["src"] or "") for image in self.images if (image["alt"] or "").partition(", ")[0] == name]


def decode(uri: str) -> np.ndarray:
    """Return the pixels of a PNG in a data URI, RGB [rows, columns, 3]."""
    head, _, data = uri.partition(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as picture:
        return np.asarray(picture.convert("RGB"))
