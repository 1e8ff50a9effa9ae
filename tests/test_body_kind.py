"""What is read, and as what, where the type of a response does not say it or says something else."""

from __future__ import annotations

import gzip
import zlib

import pytest

from tests.exchange import TRACKER, answering, around, ask

XHTML = f'<html xmlns="http://www.w3.org/1999/xhtml"><body><script src="{TRACKER}"/>Hi</body></html>'
XSL = (
    '<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform"><xsl:output method="html"/>'
    f'<xsl:template match="/"><html><script src="{TRACKER}"/></html></xsl:template></xsl:stylesheet>'
)
PAGE = f'<!doctype html><p>Hi</p><script src="{TRACKER}"></script>'
DECLARED = '<?xml version="1.0"?>'
LATE = f"<list>{'<item>one</item>' * 40}{XHTML}</list>"
IMPORTS = f'import("{TRACKER}")'.encode()
STYLES = f"h1{{background:url({TRACKER})}}".encode()


@pytest.mark.parametrize("chunk", [1_000_000, 5, 1])
@pytest.mark.parametrize("coded", [False, True])
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/xml", XHTML.encode()),
        ("application/xml", LATE.encode()),
        ("text/xml", XHTML.replace("xhtml", "xhtm&#108;").encode()),
        ("text/xml", f'<!DOCTYPE html [<!ENTITY x "">]>{XHTML.replace("xhtml", "&x;xhtml")}'.encode()),
        ("text/xml", (DECLARED + XHTML).encode("utf-16")),
        ("text/xsl", XSL.encode()),
        ("", PAGE.encode()),
        ("", b" \n" * 9 + PAGE.encode()),
        ("", (DECLARED + XHTML).encode()),
    ],
)
def test_a_page_is_found_by_how_it_begins(kind: str, body: bytes, coded: bool, chunk: int) -> None:
    """In any coding, in any pieces, in UTF-16, and where what makes it one is written in another way or late."""
    sent = gzip.compress(body, mtime=0) if coded else body
    headers = [(b"content-type", kind.encode())] * bool(kind) + [(b"content-encoding", b"gzip")] * coded
    pieces = [sent[at : at + chunk] for at in range(0, len(sent), chunk)]
    answer = ask(around(answering(*pieces, b"", headers=headers)), headers={"sec-fetch-dest": "document"})
    read = gzip.decompress(answer.body) if coded else answer.body
    assert TRACKER.encode() not in read.replace(b"\0", b"")
    assert b"Hi" in read.replace(b"\0", b"") or kind == "text/xsl"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/xml", b"<urlset><url>" + TRACKER.encode() + b"</url></urlset>"),
        ("", b"Hello, " + TRACKER.encode()),
        ("", b"<h"),
        ("", b"<?xml version='1.0'?><a>" + TRACKER.encode() + b"</a>"),
    ],
)
@pytest.mark.parametrize("chunk", [1_000_000, 1])
def test_data_passes_as_it_came(kind: str, body: bytes, chunk: int) -> None:
    """All of it, with its fields."""
    headers = [(b"content-type", kind.encode())] * bool(kind) + [(b"etag", b'"v1"')]
    pieces = [body[at : at + chunk] for at in range(0, len(body), chunk)]
    answer = ask(around(answering(*pieces, b"", headers=headers)), headers={"sec-fetch-dest": "document"})
    assert (answer.body, answer.headers) == (body, headers)


@pytest.mark.parametrize("kind", ["", "text/xml"])
@pytest.mark.parametrize(("codings", "piece"), [([], b"\0" * 4096), ([b"gzip"], b"\0\0\0\xff\xff" * 800)])
def test_what_says_nothing_is_not_kept_back_for_ever(kind: str, codings: list[bytes], piece: bytes) -> None:
    """Neither a file of zeros nor compressed blocks that hold nothing."""
    begun = zlib.compressobj(wbits=31)
    headers = [(b"content-type", kind.encode())] * bool(kind) + [(b"content-encoding", c) for c in codings]
    first = begun.flush(zlib.Z_FULL_FLUSH) if codings else b""
    pieces = [first, *[piece] * 60]
    answer = ask(around(answering(*pieces, headers=headers)), headers={"sec-fetch-dest": "document"})
    assert answer.body == b"".join(pieces)
    assert max(len(message.get("body", b"")) for message in answer.messages) < 150_000


def test_data_that_a_script_fetches_is_not_waited_for() -> None:
    """It is never shown, so its first piece goes on at once; what may be shown waits for its end."""
    app = around(
        answering(b"<list><item/>", b"<item/>", b"</list>", headers=[(b"content-type", b"text/xml")])
    )

    def pieces(destination: str) -> int:
        answer = ask(app, headers={"sec-fetch-dest": destination})
        return sum(bool(message.get("body")) for message in answer.messages)

    assert (pieces("empty"), pieces("iframe")) == (3, 1)


@pytest.mark.parametrize(
    ("options", "is_read"), [(b"foo", True), (b"NoSniff, x", False), (b"nosniff", False)]
)
def test_only_nosniff_keeps_browsers_from_looking(options: bytes, is_read: bool) -> None:
    """Fetch Standard, section 3.6: its first value counts, in any case."""
    headers = [(b"x-content-type-options", options)]
    answer = ask(around(answering(PAGE.encode(), headers=headers)), headers={"sec-fetch-dest": "document"})
    assert (TRACKER.encode() not in answer.body) is is_read


@pytest.mark.parametrize(
    ("kind", "destination", "body", "is_read"),
    [
        ("text/plain", "script", IMPORTS, True),
        ("application/json", "script", IMPORTS, True),
        ("text/css", "script", IMPORTS, True),
        ("text/plain;charset=utf-8", "style", STYLES, True),
        ("text/javascript", "style", STYLES, True),
        ("text/plain", "document", IMPORTS, False),
        ("text/plain", "empty", STYLES, False),
        ("image/png", "script", IMPORTS, False),
        ("text/csv", "script", IMPORTS, False),
    ],
)
def test_a_file_is_what_it_is_loaded_as(kind: str, destination: str, body: bytes, is_read: bool) -> None:
    """Browsers run what a script element loads, whatever its type, but for a few; old pages do so with styles."""
    app = around(answering(body, headers=[(b"content-type", kind.encode())]))
    for _ in range(2):  # the second time, the type was met before
        answer = ask(app, headers={"sec-fetch-dest": destination})
        assert (TRACKER.encode() not in answer.body) is is_read
    strict = [(b"content-type", kind.encode()), (b"x-content-type-options", b"nosniff")]
    answer = ask(around(answering(body, headers=strict)), headers={"sec-fetch-dest": destination})
    assert answer.body == body
