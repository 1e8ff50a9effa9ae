"""Which elements run scripts at once: before them goes what has to come before all scripts."""

from __future__ import annotations

from itertools import product

import pytest

from consent.enforcement import PageEnforcement
from consent.html import Rewriter
from tests.exchange import REFUSING
from tests.html.reading import Judging, pieces
from tests.html.test_screening import CATALOG, PAGE

T = "//t.tracker.example/t"
_NOT_YET = [
    "<title>a</title><meta charset=utf-8><link rel=stylesheet href=a.css><style>a{}</style>",
    "<meta http-equiv=Content-Type content=text/html>",
    "<script defer src=a.js></script>",
    "<script type=module>a</script>",
    "<script type=' MODULE ' src=a.js></script>",
    "<script type=application/json>{}</script>",
    "<script type=importmap>{}</script>",
    "<script nomodule>a</script>",
    "<body class=one><p title='on=a'>a<a href=/a>b</a><img src=a.png><noscript><img src=a onload=a></noscript>",
    "<textarea><script>a</script></textarea><!-- <script>a</script> --><video src=a></video>",
    f"<script src={T}></script><img src={T} onload=a>",
]
_AT_ONCE = [
    "<script>a</script>",
    "<SCRIPT src=a.js></SCRIPT>",
    "<script async src=a.js></script>",
    "<script defer>a</script>",
    "<script type=module async src=a.js></script>",
    "<script defer async src=a.js></script>",
    "<body onload=a>",
    "<p ONCLICK=a>",
    "<iframe src=a></iframe>",
    "<object data=a></object>",
    "<embed src=a>",
    "<svg><script>a</script></svg>",
    "<math></math>",
    "<template shadowrootmode=open><script>a</script></template>",
    "<select><option>a</select>",
    "<base href=//elsewhere.example/>",
    "<meta http-equiv=content-security-policy content=a>",
    "<meta http-equiv='content-securit&#121;-policy' content=a>",
    "<a href=javascript:a>b</a>",
    "<a href=' java&Tab;script:a'>b</a>",
    "<a href='&#106;avascript:a'>b</a>",
    "<form action='\x01JaVaScRiPt:a'></form>",
    "<plaintext>",
    "<img name=currentScript>",
    "<image name=currentScript>",
    "<form name=baseURI>",
    "<script type='text/javascript\x0b'>a</script>",
    "<script type='module&#11;'>a</script>",
]


@pytest.mark.parametrize("at_once", _AT_ONCE)
@pytest.mark.parametrize("before", ["", *_NOT_YET])
def test_what_goes_before_scripts_waits_for_the_first_that_does_not(before: str, at_once: str) -> None:
    """At the head's start is what runs when the page is read; before what may run sooner, what runs at once."""
    for head in ("<!doctype html><html><head>", "<!doctype html><title>a</title>"):
        page = f"{head}{before}{at_once}<p>b<script>c</script>".encode()
        for size, skip in product((len(page), 1, 7), (True, False)):
            judge = PageEnforcement(CATALOG, REFUSING, PAGE)
            if not skip:
                judge.skip = None
            rewriter = Rewriter(judge, at_head_start=lambda: b"[+]", before_running=lambda: b"[!]")
            written = (b"".join(map(rewriter.write, pieces(page, [size]))) + rewriter.end()).decode()
            assert written.count("[+]") == written.count("[!]") == 1
            assert written.index("[+]") <= len(head)
            assert written.partition("[!]")[2].startswith(at_once)


@pytest.mark.parametrize("page", _NOT_YET)
def test_where_no_script_runs_at_once_nothing_is_put_before_one(page: str) -> None:
    """Such a page is drawn as if there were none."""
    rewriter = Rewriter(Judging(), at_head_start=lambda: b"[+]", before_running=lambda: b"[!]")
    written = rewriter.write(f"<!doctype html><head>{page}".encode()) + rewriter.end()
    assert written.startswith(b"<!doctype html><head>[+]")
    assert b"[!]" not in written


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("<html onclick=a><head><title>b</title>", "<html onclick=a>[!]<head><title>b</title>"),
        ("<html onclick=a><p>b", "<html onclick=a>[!]<p>b"),
        ("<p>b<a href=javascript:a>c</a>", "<p>b[!]<a href=javascript:a>c</a>"),
        ("<head onclick=a><script>b</script>", "<head onclick=a>[!]<script>b</script>"),
        ("<p>a<script>b</script>", "<p>a[!]<script>b</script>"),
        ("<body onload=a><script>b</script>", "[!]<body onload=a><script>b</script>"),
    ],
)
def test_what_runs_first_of_all_is_preceded_once(page: str, expected: str) -> None:
    """Then it takes the place of what could have waited."""
    rewriter = Rewriter(Judging(), at_head_start=lambda: b"[+]", before_running=lambda: b"[!]")
    assert (rewriter.write(page.encode()) + rewriter.end()).decode() == expected
