"""A page of HTML, read strictly, and names that would be something else if they were not text."""

import base64
from html.parser import HTMLParser
from io import BytesIO

from PIL import Image

HOSTILE = [
    "<script>window.harmed = 1; alert(1)</script>.png",
    '"><img src=x onerror="window.harmed = 1">',
    "' onfocus='window.harmed = 1' autofocus tabindex='1",
    "javascript:window.harmed=1",
    "</script></style></title></code><h1>taken over</h1><!-- ",
    "{{ 7 * 7 }}{% raw %}&lt;b&gt; &copy",
    "line\nbreak\ttab \x1b[31m\x00 \udce9 \u202e " + "x" * 300,
]
_VOID = {"meta", "img", "input", "br"}


class Page(HTMLParser):
    """What a page is made of; what is not closed as it was opened, or named twice, is an error.

    Attributes:
        elements: Each with its attributes, in order.
        words: All text that is shown, by the element it stands in.
    """

    def __init__(self, text):
        super().__init__()
        self.elements, self.words, self._open = [], [], []
        self.feed(text)
        self.close()
        assert not self._open, f"left open: {self._open}"
        ids = [one["id"] for _, one in self.elements if "id" in one]
        assert len(ids) == len(set(ids))
        for name, one in self.elements:
            if "for" in one:
                assert one["for"] in ids
            if name == "img":
                assert "alt" in one

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"an attribute twice: {tag} {attrs}"
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open, f"nothing is open that {tag} closes"
        assert self._open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.words.append((self._open[-1] if self._open else "", data))

    @property
    def text(self):
        """All text that is shown."""
        return "\n".join(data for where, data in self.words if where not in ("style", "script"))

    @property
    def structure(self):
        """The elements with the names of their attributes: what no name may change."""
        return [(name, sorted(one)) for name, one in self.elements]

    @property
    def headings(self):
        """The levels of the headings."""
        return [int(name[1]) for name, _ in self.elements if name in ("h1", "h2", "h3", "h4")]

    def all(self, tag, /, **attributes):
        """Return the attributes of each element of this name that has these."""
        return [
            one for name, one in self.elements if name == tag and attributes.items() <= one.items()
        ]

    def pictures(self):
        """Return the pictures that are inside."""
        head = "data:image/png;base64,"
        sources = [one["src"] for one in self.all("img")]
        assert all(one.startswith(head) for one in sources)
        return [Image.open(BytesIO(base64.b64decode(one.removeprefix(head)))) for one in sources]


def check(text):
    """Return a page, which must be a file of its own and in good order."""
    assert text.startswith("<!DOCTYPE html>\n<html lang=")
    page = Page(text.removeprefix("<!DOCTYPE html>"))
    assert len(page.all("title")) == len(page.all("main")) == 1
    assert page.all("meta", name="viewport")
    assert page.all("meta", charset="utf-8")
    for _, one in page.elements:  # nothing is loaded, and links lead to places in the page
        assert one.get("src", "data:").startswith("data:")
        assert one.get("href", "#").startswith("#")
        assert not any(name.startswith("on") for name in one)
    assert not page.all("link")
    assert page.headings.count(1) == 1
    assert page.headings[0] == 1
    for above, below in zip(page.headings, page.headings[1:], strict=False):
        assert below <= above + 1
    text.encode()  # what is no UTF-8 is replaced
    assert not any(ord(one) < 32 and one not in "\n\t" for one in text)
    return page


def shown(name):
    """Return a name as a page shows it: what is no text, or turns it around, is replaced."""
    allowed = "\n\t"
    return "".join(
        "\ufffd" if (ord(one) < 32 and one not in allowed) or 127 <= ord(one) < 160
        or "\ud800" <= one <= "\udfff" or "\u2028" <= one <= "\u202e" or "\u2066" <= one <= "\u2069"
        else one
        for one in name
    )  # fmt: skip
