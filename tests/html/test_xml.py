"""XHTML pages and SVG documents are rewritten by the rules of XML, and stay well-formed."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from consent.html import RewriterLimitExceeded, XMLRewriter
from tests.html.reading import Judging, pieces

T = "//tracker.example/t"


def rewritten(page: str, judge: Judging | None = None, *, size: int = 1 << 20, limit: int = 1 << 20) -> str:
    """Return a page as the rewriter leaves it."""
    rewriter = XMLRewriter(judge or Judging(), at_body_end=lambda: b"<aside/>", max_buffer_bytes=limit)
    written = [rewriter.write(chunk) for chunk in pieces(page.encode(), [size])]
    return (b"".join(written) + rewriter.end()).decode()


_ROOT = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="x" xmlns:h="y">'


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (f'<script src="{T}"/><p/>', "<p/>"),
        (f'<script href="{T}"></script><p/>', "<p/>"),
        (f'<h:script xlink:href="{T}"><![CDATA[ </h:script> ]]></h:script><p/>', "<p/>"),
        ("<script><![CDATA[ if (a < b) track() ]]></script>", ""),
        ("<script>track&#40;)</script>", ""),
        ("<script>own()</script>", "<script>own()</script>"),
        (
            f"<style>@import &quot;{T}&#34;; a&gt;b {{}}</style>",
            '<style>@import "about:invalid"; a&gt;b {}</style>',
        ),
        (f"<style>a{{b:&#117;<![CDATA[rl({T})]]>}}</style>", "<style>a{b:url(about:invalid)}</style>"),
        ("<style>a &gt; b &amp; c</style>", "<style>a &gt; b &amp; c</style>"),
        (f'<img src="{T}" alt=""/>', '<img  alt=""/>'),
        (f'<iframe src="{T}"><p>a</p></iframe>', "<iframe ><p>a</p></iframe>"),
        (f'<image xlink:href="{T}"/>', "<image />"),
        (f"<style>a{{b:url({T})}}</style>", "<style>a{b:url(about:invalid)}</style>"),
        (f'<title><img src="{T}"/></title>', "<title><img /></title>"),
        (f"<![CDATA[<img src='{T}'/>]]>", f"<![CDATA[<img src='{T}'/>]]>"),
        (f"<!-- <img src='{T}'/> -->", f"<!-- <img src='{T}'/> -->"),
        (f'<noscript><img src="{T}"/></noscript>', "<noscript><img /></noscript>"),
        (f'<iframe srcdoc="&lt;img src={T}&gt;&lt;p&gt;"/>', '<iframe srcdoc="&lt;p>"/>'),
    ],
)
def test_what_tracks_is_cut_so_that_the_rest_is_well_formed(content: str, expected: str) -> None:
    """Self-closing scripts, any prefix, CDATA anywhere, no raw text."""
    page = f"{_ROOT}{content}</svg>"
    for size in (1 << 20, 1, 3):
        result = rewritten(page, size=size)
        assert result == f"{_ROOT}{expected}</svg>"
        ElementTree.fromstring(result)


@pytest.mark.parametrize(
    "declaration",
    [
        f'<!ATTLIST img src CDATA "{T}">',
        f"<!ATTLIST p class CDATA 'a>b' style CDATA 'b:url({T})'>",
        "<!ATTLIST p onclick CDATA 'track()'>",
        "<!ENTITY % more \"<!ATTLIST img src CDATA 'x'>\">",
    ],
)
def test_a_document_type_gives_no_refused_attribute(declaration: str) -> None:
    """A declaration goes, if the value it gives to an attribute is refused, or if it holds others."""
    kept = '<!ATTLIST p xmlns CDATA #FIXED "http://www.w3.org/1999/xhtml">'
    for size in (1 << 20, 1):
        assert rewritten(f"<!DOCTYPE p [{declaration}{kept}]><p/>", size=size) == f"<!DOCTYPE p [{kept}]><p/>"


def test_style_sheets_of_the_document_are_judged() -> None:
    """The ``xml-stylesheet`` instruction loads, too; others do not."""
    page = f'<?xml version="1.0"?><?xml-stylesheet type="text/css" href="{T}"?><?x href="{T}"?><a/>'
    for size in (1 << 20, 1):
        assert rewritten(page, size=size) == f'<?xml version="1.0"?><?x href="{T}"?><a/>'


def test_entities_are_known_when_attributes_are_judged() -> None:
    """An entity in a URL is replaced; one that is markup cannot be judged and goes."""
    doctype = '<!DOCTYPE svg [ <!ENTITY t "//tracker.example"> <!ENTITY own "&t;/x"> ]>'
    assert rewritten(f'{doctype}<a><image href="&own;"/></a>', size=1) == f"{doctype}<a><image /></a>"
    judge = Judging()
    page = f"<!DOCTYPE svg [<!ENTITY s '<script href=\"{T}\"/>'>]><a>&s;</a>"
    assert rewritten(page, judge) == "<!DOCTYPE svg []><a>&s;</a>"
    assert judge.undecided == ["!ENTITY"]


def test_the_insertion_goes_before_the_end_of_the_body_or_nowhere() -> None:
    """Behind the root element it would be an error."""
    assert rewritten("<html><body><p/></body></html>") == "<html><body><p/><aside/></body></html>"
    assert rewritten("<svg><g/></svg>") == "<svg><g/></svg>"


def test_a_script_without_an_end_is_bounded() -> None:
    """Behind it nothing could be well-formed."""
    with pytest.raises(RewriterLimitExceeded):
        rewritten("<a><script>" + "x" * 500 + "</script></a>", size=50, limit=100)
    assert rewritten("<a><script>track()") == "<a><script>track()"
