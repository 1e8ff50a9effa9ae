"""What takes the place of a refused element: where it is held, and where nothing may be."""

from __future__ import annotations

import pytest

from tests.html.reading import SPEC, Judging, rewritten
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
    """A base, a refresh, a hint, a parameter, a frame."""
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
        ("<template shadowrootmode=open data-consent='performance/tracker'>", "</template>"),
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
    frame = '<iframe src="data:text/html;charset=utf-16,x" background="//tracker.example/"></iframe>'
    check(frame, "")


def test_what_the_app_holds_itself_stays_if_it_waits_for_the_right_consent() -> None:
    """A page may come with templates of its own; so may one that has been through here before."""
    script, pixel = "<script>track()</script>", f"<img src='{T}'>"
    inside = f"<style>p {{ background: url({T}) }}</style>{script}<p onclick='track()'>{pixel}</p>"
    page = f"<template data-consent='performance/tracker targeting/other'>{inside}</template>"
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
