"""Bodies that do not end: memory stays as it is, and what is decided goes out at once. ``make soak`` sends more."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator

import pytest

from consent.enforcement import MAX_FINDINGS, PageEnforcement
from consent.html import Rewriter
from consent.html.urls import PageURL
from tests.exchange import CATALOG, REFUSING

_SOAK_BYTES = int(os.environ.get("CONSENT_SOAK_MB", "3")) * 1_000_000
_SLOW = ("trackers", "snippets", "styles", "strangers")
"""Kinds that Python looks at piece by piece: a sixteenth of them is enough."""
_CHUNK_BYTES = 64 * 1024
_MOST_MEMORY = 4_000_000
_PIECES = {
    "text": b"word ",
    "tags": b'<p class="a">x</p>',
    "own pictures": b'<img src="/a.png" alt="">',
    "scripts": b'<script>f("x")</script>',
    "trackers": b'<script src="https://t.tracker.example/t.js"></script>',
    "snippets": b"<script>trackMe(1)</script>",
    "styles": b"<style>a{b:url(//t.tracker.example/x)}</style>",
    "drawings": b'<svg viewBox="0 0 1 1"><path d="M0 0"/></svg>',
    "comments": b"<!-- c -->",
    "a comment without an end": b"-- >",
    "text without an end": b"x",
}
_OPENINGS = {"a comment without an end": b"<!--", "text without an end": b"<textarea>"}


def _strangers() -> Iterator[bytes]:
    number = 0
    while True:
        piece = bytearray()
        while len(piece) < _CHUNK_BYTES:
            piece += b'<img src="//h%d.test/">' % number
            number += 1
        yield bytes(piece)


def _chunks(kind: str) -> Iterator[bytes]:
    yield b"<html><head></head><body>" + _OPENINGS.get(kind, b"")
    if kind == "strangers":
        yield from _strangers()
    body = _PIECES[kind] * (_CHUNK_BYTES // len(_PIECES[kind]) + 2)
    position = 0
    while True:  # the pieces are cut at ever other places
        yield body[position : position + _CHUNK_BYTES]
        position = (position + _CHUNK_BYTES) % len(_PIECES[kind])


@pytest.mark.timeout(0)
@pytest.mark.parametrize("kind", [*_PIECES, "strangers"])
def test_an_endless_body_takes_no_more_memory_and_goes_out_as_it_comes(kind: str) -> None:
    """A piece that is cut in two waits for the next chunk, and nothing else does."""
    judge = PageEnforcement(CATALOG, REFUSING, PageURL("https", "www.example.com", "/"))
    rewriter = Rewriter(judge, at_head_start=lambda: b"", at_body_end=lambda: b"")
    received = sent = 0
    tracemalloc.start()
    try:
        for chunk in _chunks(kind):
            received += len(chunk)
            sent += len(rewriter.write(chunk))
            if kind not in _SLOW[:3]:  # of which much does not go out at all
                assert received - sent < 64, "more is kept back than one piece"
            if received > (_SOAK_BYTES // 16 if kind in _SLOW else _SOAK_BYTES):
                break
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < _MOST_MEMORY
    assert len(judge.findings) <= MAX_FINDINGS
