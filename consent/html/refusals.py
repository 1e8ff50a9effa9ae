"""What of one element is refused: its URLs, its styles, the code and the documents in its attributes."""

from __future__ import annotations

import json
import re
from typing import NamedTuple, Protocol
from urllib.parse import unquote_to_bytes

from consent.catalog.imports import data_url
from consent.html import css
from consent.html.attribute_values import decoded, embedded, keyword, quoted, text, urls
from consent.html.elements import (
    ANIMATIONS,
    ANYWHERE,
    FOREIGN_LOADS,
    FOREIGN_ROOTS,
    FRAMES,
    LOADING_LINK_TYPES,
    LOADS,
    REFERENCING_STYLES,
    Cut,
)
from consent.html.judge import Instead, Judge
from consent.html.scripts import source_attributes
from consent.html.speculation import all_stay_here
from consent.html.tokenizer import STYLE_REFERS, Attribute, Tag
from consent.html.urls import PageURL, resolve, resolve_base

_HARMLESS = frozenset(b"alt class height id name rel target title type width".split())
"""The most frequent attributes that nobody has to look at."""
_NO_LOADS: tuple[Cut, dict[bytes, str]] = (Cut.ATTRIBUTE, {})
_NO_PAGE = PageURL("https", "", "/")
_NO_SHEETS = ("image/", "font/", "application/")
_MAX_SHEETS = 4
"""How many style sheets in ``data:`` URLs may stand in each other."""
_IGNORED_IN_URLS = str.maketrans("", "", "\t\n\r")
_BEFORE_URLS = "".join(map(chr, range(0x21)))
_CARRIES_CONTENT = re.compile(r"[\x00-\x20]*+(?:[dD]|[jJ])[aA\t\n\r]")
# An unclosed one ends with the text: a search that fails would begin again at every quotation mark.
_JSON_STRING = re.compile(r'"((?:[^"\\]|\\.|\\\Z)*+)(?:"|\Z)', re.DOTALL)
_LIKE_A_URL = re.compile(r"[/\\:]")
"""``https:host`` leads to that host from a page of another scheme; a backslash may be an escape."""
# In Shift_JIS, GBK and Big5 the second byte of a character may be that of a backslash. Which encoding a page is
# in is not known here, so what holds such a pair is read in both ways.
_LIKE_AN_ESCAPE = re.compile(rb"\\(?<=[\x81-\xfe]\\)")
_LIKE_AN_ESCAPE_IN_TEXT = re.compile(r"\\(?<=[\udc81-\udcfe]\\)")
_MASK = b"\x1a"

# A byte of UTF-16, which ASCII has in every character, and the one that begins the escapes of ISO-2022-JP.
_UNLIKE_ASCII = re.compile(rb"[\x00\x1b]")


class Nested(Protocol):
    """Rewrites a page within the page: one of HTML, or of XML."""

    def __call__(self, content: bytes, judge: Judge, *, is_xml: bool = False) -> bytes: ...


class Edit(NamedTuple):
    """``data[start:end]`` gives way to ``replacement``."""

    start: int
    end: int
    replacement: bytes


class _InnerJudge:
    """Judges a page inside the page, whose ``base`` is its own affair."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._base: PageURL | None = None
        self.skip = judge.skip

    def refuses_url(self, element: str, url: str) -> bool:
        if self._base is not None and (target := resolve(url, self._base)):
            url = f"//{target.host}{target.path}"
        return self._judge.refuses_url(element, url)

    def refuses_script(self, code: str) -> bool:
        return self._judge.refuses_script(code)

    def set_base(self, url: str) -> None:
        base = resolve_base(url, _NO_PAGE)
        # A relative one decides little: of the page's own host hardly anything is refused.
        self._base = base if base.host else None

    def begin_element(self) -> None:
        self._judge.begin_element()

    def refused_by(self) -> frozenset[str]:
        return self._judge.refused_by()

    def note_instead(self, action: Instead) -> None:
        self._judge.note_instead(action)

    def note_undecided(self, element: str) -> None:
        self._judge.note_undecided(element)


class Refusals:
    """Asks the judge about the elements of one page.

    Args:
        judge: decides.
        nested: rewrites the page in a ``srcdoc`` or ``data:`` URL.
        may_set_base: whether ``base`` elements count, as they do not in every nested piece.
    """

    def __init__(self, judge: Judge, nested: Nested, *, may_set_base: bool) -> None:
        self._judge = judge
        self._nested = nested
        self._base_is_open = may_set_base
        self._sheets = 0
        self.at_home = True
        """Whether relative URLs lead to the page's own host, of which hardly anything is refused."""
        self.base_counts = True
        """Whether a ``base`` is one of the page: not within a template or a drawing."""

    def url(self, element: bytes, url: str) -> bool:
        """Tell whether ``element`` must not load ``url``, or what the URL itself consists of."""
        if _CARRIES_CONTENT.match(url):
            value = url.lstrip(_BEFORE_URLS).translate(_IGNORED_IN_URLS)
            scheme, _, rest = value.partition(":")
            if scheme.lower() == "javascript":
                return element in FRAMES and self._refuses_code(rest)
            if scheme.lower() == "data":
                return self._refuses_data(element, rest)
        return self._judge.refuses_url(element.decode("utf-8", "replace"), url)

    def _any(self, element: bytes, urls: list[str]) -> bool:
        """Tell whether one of ``urls`` is refused; ask about all of them, so that the account is complete."""
        refused = False
        for url in urls:
            refused |= self.url(element, url)
        return refused

    def _refuses_code(self, rest: str) -> bool:
        """Judge a ``javascript:`` URL by what it runs, and by the markup in its strings: its result is a page."""
        code = unquote_to_bytes(rest.encode("utf-8", "surrogateescape"))
        if self.script(text(code)):
            return True
        return b"<" in code and self._nested(code, _InnerJudge(self._judge)) != code

    def _refuses_data(self, element: bytes, rest: str) -> bool:
        """Judge a ``data:`` URL by what it holds (RFC 2397; Fetch Standard, section 6)."""
        if element not in FRAMES and element not in (b"script", b"link", b"style"):
            return False
        (kind, *_), content = data_url(rest)
        if element == b"style" and kind.startswith(_NO_SHEETS):
            return False
        if element == b"script":
            return self._judge.refuses_script(text(content))
        if element in (b"link", b"style"):
            return self._refuses_sheet(content)
        if kind.endswith(("html", "xml")):
            if b"<?xml-stylesheet" in content or _UNLIKE_ASCII.search(content):
                # In these a tag is not written in its letters; and nobody needs any of it for a page in a URL.
                self._judge.note_undecided("page within a page")
                return True
            is_xml = not kind.endswith("html")
            return self._nested(content, _InnerJudge(self._judge), is_xml=is_xml) != content
        return False

    def _refuses_sheet(self, sheet: bytes) -> bool:
        """Judge a style sheet in a URL, which may import others like it."""
        if self._sheets == _MAX_SHEETS:
            self._judge.note_undecided("style")
            return True
        self._sheets += 1
        try:
            return css.neutralised(sheet, lambda url: self.url(b"style", url)) != sheet
        finally:
            self._sheets -= 1

    def script(self, code: str) -> bool:
        """Tell whether the inline script ``code`` must not run."""
        refused = self._judge.refuses_script(code)
        if not refused and not code.isascii() and _LIKE_AN_ESCAPE_IN_TEXT.search(code):
            refused = self._judge.refuses_script(_LIKE_AN_ESCAPE_IN_TEXT.sub("\x1a", code))
        return refused

    def url_table(self, content: str) -> bool:
        """Tell whether an import map, speculation rules or a web bundle name anything refused."""
        refused = False
        # Every string is asked about: what is no URL leads to the page's own host, where hardly anything is refused.
        for match in _JSON_STRING.finditer(content):
            if not _LIKE_A_URL.search(match[1]):
                continue
            try:
                url = json.loads(f'"{match[1]}"', strict=False)
            except ValueError:
                continue
            refused |= self.url(b"script", url)
        if not refused and not all_stay_here(content):
            self._judge.note_undecided("speculation rules")
            return True
        return refused

    def style(self, sheet: bytes) -> bytes:
        """Return a style sheet without what is refused."""
        clean = self._style(sheet)
        if not clean.isascii() and _LIKE_AN_ESCAPE.search(clean):
            if _MASK in clean:
                self._judge.note_undecided("style")
                return b""
            clean = self._style(_LIKE_AN_ESCAPE.sub(_MASK, clean)).replace(_MASK, b"\\")
        return clean

    def _style(self, sheet: bytes) -> bytes:
        return css.neutralised(sheet, lambda url: self.url(b"style", url), at_home=self.at_home)

    def script_sources(self, tag: Tag, *, foreign: bool = False) -> bool:
        """Tell whether a script must not load its code, from where it does in HTML or in SVG.

        What looks ahead in a browser does not know of SVG and MathML, and loads what is in ``src`` there, too.
        """
        names = {*source_attributes(foreign), b"src"}
        return self._any(b"script", [decoded(a.value) for a in _counting(tag) if a.name in names])

    def attributes(self, data: bytes, tag: Tag, *, keep: bool) -> tuple[bool, list[Edit]]:
        """Judge what an element's attributes load and run.

        Args:
            keep: the element must stay: it is one of foreign content, or may be.

        Returns:
            Whether the element itself must go (never where ``keep``); and the changes to its attributes.
        """
        cut, readers = LOADS.get(tag.name, _NO_LOADS)
        if tag.name == b"script" or not _loads(tag) or (not keep and tag.name in FOREIGN_LOADS):
            readers = {}
        is_drawn = keep or tag.name in FOREIGN_ROOTS
        refused: set[bytes] = set()
        elsewhere: set[bytes] = set()
        edits: list[Edit] = []
        for attribute in _counting(tag):
            name = attribute.name
            if name in _HARMLESS:
                continue
            if name in readers:
                if self._any(tag.name, urls(readers[name], attribute.value)):
                    refused.add(name)
                elif tag.name in ANIMATIONS and STYLE_REFERS.search(attribute.value):
                    sheet = embedded(attribute.value, escape="\\%x ")
                    if self.style(sheet) != sheet:
                        refused.add(name)
            elif name in ANYWHERE:
                if self._any(tag.name, urls(ANYWHERE[name], attribute.value)):
                    elsewhere.add(name)
            elif name == b"style" or (is_drawn and name in REFERENCING_STYLES):
                if STYLE_REFERS.search(attribute.value):
                    self._style_attribute(attribute, edits)
            elif name.startswith(b"on"):
                if attribute.value and self.script(decoded(attribute.value)):
                    elsewhere.add(name)
            elif name == b"srcdoc" and tag.name == b"iframe":
                self._srcdoc(attribute, edits)
        if tag.name == b"base" and readers and self._base_is_open and self.base_counts and not refused:
            values = tag.values()
            if b"href" in values:
                self._base_is_open = False
                self._judge.set_base(decoded(values[b"href"]))
        if refused and cut is Cut.ELEMENT and not keep:
            return True, []
        gone = refused | elsewhere
        if gone:
            edits.extend(_without(data, attribute) for attribute in tag.attributes if attribute.name in gone)
        return False, sorted(edits)

    def _style_attribute(self, attribute: Attribute, edits: list[Edit]) -> None:
        sheet = embedded(attribute.value, escape="\\%x ")
        clean = self.style(sheet)
        if clean != sheet:
            if b"&" in attribute.value or attribute.value_start < 0:
                edits.append(Edit(attribute.start, attribute.end, quoted(attribute.name, clean)))
            else:
                start = attribute.value_start
                edits.append(Edit(start, start + len(attribute.value), clean))

    def _srcdoc(self, attribute: Attribute, edits: list[Edit]) -> None:
        page = embedded(attribute.value, escape="&#%d;")
        clean = self._nested(page, _InnerJudge(self._judge))
        if clean != page:
            edits.append(Edit(attribute.start, attribute.end, quoted(attribute.name, clean)))


def _counting(tag: Tag) -> list[Attribute]:
    """Return the attributes that count: the first of each name, and the next where that is empty.

    What looks ahead in a browser passes over an empty one.
    """
    attributes = tag.attributes
    if len({attribute.name for attribute in attributes}) == len(attributes):
        return attributes
    settled: set[bytes] = set()
    counting = []
    for attribute in attributes:
        if attribute.name not in settled:
            counting.append(attribute)
            if attribute.value.strip(b"\t\n\f\r "):
                settled.add(attribute.name)
    return counting


def _loads(tag: Tag) -> bool:
    """Tell whether the element's other attributes make it load what its URLs say."""
    if tag.name in (b"link", b"input", b"meta", b"param"):
        values = tag.values()
        if tag.name == b"link":
            # All of them: what looks ahead in a browser takes the last, what builds the page the first.
            return any(
                not LOADING_LINK_TYPES.isdisjoint(keyword(attribute.value).split())
                for attribute in tag.attributes
                if attribute.name == b"rel"
            )
        if tag.name == b"input":
            return any(a.name == b"type" and keyword(a.value) == b"image" for a in tag.attributes)
        if tag.name == b"meta":
            return keyword(values.get(b"http-equiv", b"")) == b"refresh"
        return keyword(values.get(b"name", b"")) in (b"movie", b"src", b"url", b"data")
    return True


def _without(data: bytes, attribute: Attribute) -> Edit:
    """Take an attribute out, so that its neighbours do not become something else."""
    before = data[attribute.start - 1 : attribute.start]
    after = data[attribute.end : attribute.end + 1]
    replacement = b""
    if data[attribute.end : attribute.end + 64].lstrip(b"\t\n\f\r ")[:1] in (b"=", b""):
        # The name before must not get a value.
        replacement = b"/"
    elif before == b"/" and after == b">":
        # The element must not close itself.
        replacement = b" "
    return Edit(attribute.start, attribute.end, replacement)
