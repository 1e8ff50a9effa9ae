"""What takes the place of refused elements in whole responses."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from consent.policy import Refused
from tests.exchange import HTML, POLICY, Answer, answering, around, ask, chosen

SCRIPT = b'<script src="https://t.tracker.example/t.js"></script>'
HELD = b'<template data-consent="targeting/tracker">%b</template>' % SCRIPT
BOTH = b'<template data-consent="performance/counter targeting/tracker">%b</template>'
HOLDING = dataclasses.replace(POLICY, refused=Refused.HOLD)


def held(page: bytes, **request: Any) -> Answer:
    return ask(around(answering(page), policy=HOLDING), **request)


def test_a_refused_element_is_held_where_the_policy_says_so() -> None:
    """For all who refuse it; and it is as it was for who allows it."""
    pixel = b'<img src="https://counter.example/c.gif" style="background:url(https://tracker.example/)">'
    page = b"<body><p>a</p>" + SCRIPT + pixel + b"</body>"
    assert b"<p>a</p>" + HELD + BOTH % pixel + b"<link" in held(page).body
    allowing = held(page, headers={"cookie": chosen()})
    assert b"<p>a</p>" + SCRIPT + pixel + b"<link" in allowing.body


def test_strip_and_hold_are_variants_of_their_own() -> None:
    """What was cached under the one is not confirmed under the other."""
    app = answering(b"<body>" + SCRIPT, headers=[HTML, (b"etag", b'"1"')])
    etags = {ask(around(app, policy=policy)).header("etag") for policy in (POLICY, HOLDING)}
    assert len(etags) == 2


def test_the_account_says_what_is_held() -> None:
    """Withheld as much as what is taken out."""
    page = held(b"<body>" + SCRIPT + b"</body>", headers={"consent-report": "1"})
    report = json.loads(page.body.partition(b'id="consent-report">')[2].partition(b"</script>")[0])
    assert report["withheld"] == 1
    assert [finding["action"] for finding in report["findings"]] == ["held"]


@pytest.mark.parametrize(
    ("page", "missing"),
    [
        (SCRIPT, b""),
        (b"<video src='https://t.tracker.example/v'></video>", b""),
        (SCRIPT + b"<video src='https://counter.example/v'></video>", b"performance/counter"),
    ],
)
def test_a_page_says_what_is_missing_besides_what_it_holds(page: bytes, missing: bytes) -> None:
    """So that the client knows when it cannot do without a new page."""
    mark = b'<template class="consent-missing" data-consent="%b"></template>' % missing
    body = held(b"<body>" + page + b"</body>").body
    assert body.count(b"consent-missing") == (1 if missing else 0)
    assert (mark in body) is bool(missing)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"sec-fetch-dest": "iframe"}, b"<body>" + HELD),
        ({"sec-fetch-dest": "empty"}, b"<p>"),
        ({"hx-request": "true"}, b"<p>"),
    ],
)
def test_pages_within_pages_hold_and_pieces_do_not(headers: dict[str, str], expected: bytes) -> None:
    """What a script puts where is not known here."""
    start = b"<body>" if b"body" in expected else b"<p>"
    assert held(start + SCRIPT, headers=headers).body == expected


def test_xml_holds_nothing() -> None:
    """There, a template is an element like all others."""
    app = answering(
        b"<svg xmlns='http://www.w3.org/2000/svg'><script href='https://t.tracker.example/'></script></svg>",
        headers=[(b"content-type", b"image/svg+xml")],
    )
    assert ask(around(app, policy=HOLDING)).body == b"<svg xmlns='http://www.w3.org/2000/svg'></svg>"
