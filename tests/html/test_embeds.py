"""What of an embed decides its place and size, and nothing that could do more."""

from __future__ import annotations

import pytest

from consent.html.embeds import address, layout, size
from consent.html.tokenizer import Tag, start_tag


def embed(attributes: str) -> Tag:
    tag = start_tag(f"<iframe {attributes}>".encode(), 0)
    assert tag is not None
    return tag


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ("width=560 height='315'", ("560", "315")),
        ("width=' 560px' height=+315.5", ("560", "315")),
        ("width=100% height=''", ("100%", "")),
        ("width=auto", ("", "")),
        ("width='1\"onload=x' height=99999999", ("1", "99999")),
        ("width=560 height=315 style='width:50%'", ("", "315")),
    ],
)
def test_the_size_is_what_the_attributes_say(attributes: str, expected: tuple[str, str]) -> None:
    """As browsers read them, unless the style says more."""
    assert size(embed(attributes)) == expected


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ("id=film class='video  wide md:w-1/2'", {"id": "film", "class": "video wide md:w-1/2"}),
        ("id='a b' class='<b> \"x consent-root'", {}),
        ("id=consent-allow", {}),
        ("class='&quot;onload=x ok'", {"class": "ok"}),
        (
            "style='POSITION:absolute; top: 0;width:100% ; color:red;margin:0 auto'",
            {"style": "position:absolute;top:0;width:100%;margin:0 auto"},
        ),
        ("style='width:calc(1px);height:url(//x.example);inset:0!important;background:url(//x)'", {}),
        ("style='width:expression&#40;1)'", {}),
    ],
)
def test_what_is_kept_is_about_the_layout(attributes: str, expected: dict[str, str]) -> None:
    """Names and plain lengths; nothing that loads, runs, or takes the name of a part of ours."""
    assert layout(embed(attributes)) == expected


@pytest.mark.parametrize(
    ("src", "expected"),
    [
        ("https://video.example/1?a=1&amp;b=2", "https://video.example/1?a=1&b=2"),
        ("' //video.example/1 '", "//video.example/1"),
        ("http://video.example/", "http://video.example/"),
        ("/own", ""),
        ("javascript:alert(1)", ""),
        ("data:text/html,x", ""),
        ("'https://video.example/a b'", ""),
        ("https://video.example/é", ""),
    ],
)
def test_its_own_page_is_a_plain_web_address(src: str, expected: str) -> None:
    """Or there is no link to it."""
    assert address(embed(f"src={src}")) == expected
