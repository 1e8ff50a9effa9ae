"""What takes the place of a refused element: where it is held, and where nothing may be."""

from __future__ import annotations

import pytest

from consent.html import Rewriter, Withholding
from tests.html.reading import SPEC, Judging, pieces, rewritten
from tests.html.test_rewriter import REMOVED, T

_NEVER_HELD = {
    "frame",
    "param",
    "base",
    "preconnect",
    "link with several types",
    "link by imagesrcset",
    "link whose second rel is what looks ahead in a browser takes",
    "meta refresh",
    "meta refresh in quotes",
    "document in UTF-16 in a data URL",
    "document in ISO-2022-JP in a data URL",
    "SVG script",
}
_HELD = {name: markup for name, markup in REMOVED.items() if name not in _NEVER_HELD}


def held(element: str, by: str = SPEC) -> str:
    return f'<template data-consent="{by}">{element}</template>'


def check(page: str, expected: str, *, fragment: bool = False) -> Judging:
    """Assert what becomes of ``page``, whole and byte by byte; and that nothing more becomes of that."""
    judge = Judging()
    result = rewritten(page.encode(), judge, hold=True, fragment=fragment)
    assert result.decode() == expected
    assert rewritten(page.encode(), hold=True, sizes=[1], fragment=fragment) == result
    assert rewritten(result, hold=True, fragment=fragment) == result
    return judge


@pytest.mark.parametrize("element", _HELD.values(), ids=_HELD)
def test_a_refused_element_is_held_to_the_byte(element: str) -> None:
    """With its content and end tag; its neighbours stay as they are."""
    judge = check(f"<p>a</p> {element} <p>b</p>", f"<p>a</p> {held(element)} <p>b</p>")
    assert judge.instead == ["held"]
    check(f"<head>{element}<title>x</title>", f"<head>{held(element)}<title>x</title>")


@pytest.mark.parametrize("name", sorted(_NEVER_HELD - {"SVG script"}))
def test_what_cannot_come_back_is_taken_out(name: str) -> None:
    """A base, a refresh, a hint, a parameter, a frame, a page that nobody could read."""
    judge = check(f"<p>{REMOVED[name]}</p>", "<p></p>")
    assert judge.instead == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<svg><foreignObject>", "</foreignObject></svg>"),
        ("<math><mi>", "</mi></math>"),
        ("<select>", "</select>"),
        ("<noscript>", "</noscript>"),
        ("<template>", "</template>"),
        ("<template shadowrootmode=open data-consent='functional/tracker'>", "</template>"),
    ],
)
def test_an_element_is_taken_out_where_a_template_might_not_be_one(before: str, after: str) -> None:
    """In foreign content, in ``select``, in what is text to some; and where nobody would give it back."""
    script = f"<script src='{T}'></script>"
    check(f"{before}{script}{after}", f"{before}{after}")
    # Behind it, everything is certain again.
    check(f"{before}{after}{script}", f"{before}{after}{held(script)}")


def test_nothing_is_held_where_it_is_not_known_what_is_around() -> None:
    """In a piece of a page, unless it turns out to be a whole one; in a page of frames; within an attribute."""
    script = f"<script src='{T}'></script>"
    check(script, "", fragment=True)
    check(f"<body>{script}", f"<body>{held(script)}", fragment=True)
    check(f"<frameset><noframes></noframes></frameset>{script}", "<frameset><noframes></noframes></frameset>")
    check(f'<iframe srcdoc="<img src={T}>"></iframe>', '<iframe srcdoc=""></iframe>')


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (f'<video src="{T}"></video>', "<video ></video>"),
        (f'<p style="background:url({T})" onclick="track()">', '<p style="background:url(about:invalid)" >'),
        (
            f"<style>p {{ background: url({T}) }}</style>",
            "<style>p { background: url(about:invalid) }</style>",
        ),
        (f"<input type=image src={T}>", "<input type=image >"),
    ],
)
def test_where_only_an_attribute_is_refused_only_that_goes(page: str, expected: str) -> None:
    """As without holding."""
    check(page, expected)


@pytest.mark.parametrize(
    "content", ["</template>", "<!-- </template>", "<!--<script></script></template>-->", "<template>", "]]>"]
)
def test_what_is_in_a_held_script_cannot_end_its_template(content: str) -> None:
    """It is text to everybody, up to the script's own end tag."""
    script = f"<script>track()//{content}</script>"
    check(f"{script}<img src='{T}'>", held(script) + held(f"<img src='{T}'>"))
    frame = f"<iframe src='{T}'>{content.replace('script', 's')}</iframe>"
    check(f"{frame}<p>", f"{held(frame)}<p>")


@pytest.mark.parametrize("element", [f"<script src={T}>", f"<iframe src={T}><p>", "<script>track()"])
def test_an_element_that_the_page_does_not_finish_is_not_held(element: str) -> None:
    """Its template would have no end either. (An unfinished inline script does not run, and stays.)"""
    check(f"<p>{element}", f"<p>{element}" if "track()" in element else "<p>")


def test_an_element_too_long_to_be_kept_back_is_taken_out() -> None:
    """However it arrives."""
    frame = b"<iframe src='%b'>%b</iframe>" % (T.encode(), b"x" * 200)
    for sizes in ([1], [64], [1000]):
        assert rewritten(b"a%bb" % frame, hold=True, max_buffer_bytes=200, sizes=sizes) == b"ab"
        assert frame in rewritten(b"a%bb" % frame, hold=True, max_buffer_bytes=300, sizes=sizes)


def test_the_judge_is_asked_once_about_an_element_whose_end_is_awaited() -> None:
    """The account of a page does not depend on how it was cut."""
    judge = Judging()
    rewritten(f"<script src={T}></script>".encode(), judge, hold=True, sizes=[1])
    assert judge.urls == [("script", T)]
    assert judge.instead == ["held"]


@pytest.mark.parametrize("code", ["document.write('<p>')", "d['write']('x')", "document.writeln(1)"])
def test_a_script_that_writes_into_the_page_is_not_held(code: str) -> None:
    """Run when the page is there, it would replace it."""
    check(f"<script>track();{code}</script>", "")
    script = "<script>track(); overwrite(x); rewrites = 1</script>"
    check(script, held(script))


def test_an_element_that_could_not_be_read_to_its_end_is_not_held() -> None:
    """Nobody's consent can tell what is in it."""
    frame = '<iframe src="data:text/html;charset=utf-16,x%00" background="//tracker.example/"></iframe>'
    check(frame, "")


def test_what_the_app_holds_itself_stays_if_it_waits_for_the_right_consent() -> None:
    """A page may come with templates of its own; so may one that has been through here before."""
    script, pixel = "<script>track()</script>", f"<img src='{T}'>"
    inside = f"<style>p {{ background: url({T}) }}</style>{script}<p onclick='track()'>{pixel}</p>"
    page = f"<template data-consent='functional/tracker targeting/other'>{inside}</template>"
    judge = check(page, page)
    assert judge.instead == ["held"] * 4
    assert rewritten(page.encode()) == page.encode()
    check(
        f"<template data-consent='targeting/other'>a{pixel}b</template>",
        "<template data-consent='targeting/other'>ab</template>",
    )
    check(
        f"<template data-consent='performance'>a{pixel}b</template>",
        "<template data-consent='performance'>ab</template>",
    )


@pytest.mark.parametrize(
    "ending",
    [
        "</template>",
        "<svg></template></svg>",
        "<svg></p><style></template></style></svg>",
        "<svg></p><![CDATA[></template>]]></svg>",
        "<select></template></select>",
        "<template></template>",
    ],
)
def test_what_may_be_behind_such_a_template_does_not_stay(ending: str) -> None:
    """Where the template's end may have been missed, nothing counts as held any more."""
    page = f"<template data-consent='{SPEC}'>{ending}<img src='{T}'>".encode()
    assert rewritten(page).count(T.encode()) == 0


# --- placeholders ---


def replaced(page: str, *, hold: bool = False, sizes: list[int] | None = None) -> tuple[str, Judging]:
    judge = Judging()
    withholding = Withholding(judge, hold=hold, placeholder=lambda tag, element, by: b"(%b)" % element)
    rewriter = Rewriter(judge, withholding=withholding)
    result = b"".join(map(rewriter.write, pieces(page.encode(), sizes or [1 << 20]))) + rewriter.end()
    return result.decode(), judge


@pytest.mark.parametrize(
    "embed",
    [
        f"<iframe src='{T}'>x</iframe>",
        f"<iframe width=560 height=315 src='{T}'></iframe >",
        f"<iframe width=100% style='height: 2px; min-width: 1px; left: -1px' src='{T}'></iframe>",
        f"<embed src='{T}' width='640'>",
    ],
)
def test_an_embed_that_is_seen_is_replaced(embed: str) -> None:
    """Whole, as it is in the page; held or not, however it arrives."""
    for sizes in ([1], [1000]):
        result, judge = replaced(f"<p>a{embed}b</p>", sizes=sizes)
        assert result == f"<p>a({embed})b</p>"
        assert judge.instead == ["replaced"]
    assert replaced(embed, hold=True)[0] == f"({embed})"


@pytest.mark.parametrize(
    "attributes",
    [
        "width=1 height=1",
        "width='0'",
        "height=1px",
        "hidden",
        "style='display: none'",
        "style='border:0;DISPLAY:/* */none!important'",
        "style='visibility:hidden'",
        "style='width:0;height:0'",
        "style='height:1px'",
        "style='position:absolute;left:-9999px'",
        "style='opacity:0'",
    ],
)
def test_an_embed_that_nobody_sees_is_not(attributes: str) -> None:
    """A tracker's frame goes like its pixel."""
    frame = f"<iframe {attributes} src='{T}'></iframe>"
    assert replaced(frame)[0] == ""
    assert replaced(frame, hold=True)[0] == held(frame)


def test_only_embeds_are_replaced_and_only_where_a_template_could_hold_them() -> None:
    """All else is as without placeholders."""
    pixel, frame = f"<img src='{T}'>", f"<iframe src='{T}'></iframe>"
    assert replaced(pixel)[0] == ""
    assert replaced(f"<noscript>{frame}</noscript><template>{frame}</template>")[0] == (
        "<noscript></noscript><template></template>"
    )
    assert replaced(f"<iframe src='{T}'>")[0] == ""
    assert T not in replaced(f"<iframe src=own srcdoc='<img src={T}>'></iframe>")[0]


def test_an_embed_that_nobody_can_offer_is_as_all_others() -> None:
    """The maker of placeholders has the last word."""
    judge = Judging()
    withholding = Withholding(judge, hold=True, placeholder=lambda tag, element, by: b"")
    frame = f"<iframe src='{T}'></iframe>"
    assert Rewriter(judge, withholding=withholding).write(frame.encode()).decode() == held(frame)
    assert judge.instead == ["held"]
