"""No visitor gets what is another's, behind a cache that is set up as the documentation says."""

from __future__ import annotations

import json
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from consent.policy import CacheMode
from tests.caching.site import HOST, Answer, Served, ask, behind, documented

PATHS = ("/", "/chairs", "/chairs?page=2", "/named.css", "/login", "/nonce")
SHARED_PATHS = PATHS[:4]
EVERYTHING = {"action": "accept"}
CHOICES: dict[str, dict[str, Any] | None] = {
    "nobody": None,
    "everything": EVERYTHING,
    "nothing": {"action": "refuse"},
    "performance": {"action": "save", "performance": True},
    "functional": {"action": "save", "functional": True},
    "targeting": {"action": "save", "targeting": True},
    "all but targeting": {"action": "save", "performance": True, "functional": True},
    "all but one vendor": {
        "action": "save", "performance": True, "functional": True, "targeting": True, "vendors": {"hotjar": False},
    },
    "one vendor": {"action": "save", "vendors": {"youtube": True}},
}  # fmt: skip
SIGNALS = {"": {}, " with GPC": {"Sec-GPC": "1"}, " with DNT": {"DNT": "1"}, " with DNT: 0": {"DNT": "0"}}
ROUNDS = 3


def choose(port: int, choice: dict[str, Any], cookies: dict[str, str], **headers: str) -> dict[str, str]:
    """Make a choice; return the visitor's cookies from then on."""
    sent = {"Origin": f"http://{HOST}", "Content-Type": "application/json", **headers, **cookie(cookies)}
    answer = ask(port, "/_consent/choice", sent, method="POST", body=json.dumps(choice).encode())
    assert answer.status == 200, answer.body
    return {name: value for name, value in {**cookies, **answer.cookies}.items() if value}


def cookie(cookies: dict[str, str]) -> dict[str, str]:
    """Return the header field that sends ``cookies``."""
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())} if cookies else {}


def visitors(served: Served) -> dict[str, dict[str, str]]:
    """Return what many different browsers send; all of them chose through the cache."""
    found = {}
    for name, choice in CHOICES.items():
        chosen = choose(served.cache, choice, {}) if choice else {}
        for signal, headers in SIGNALS.items():
            found[name + signal] = {**headers, **cookie(chosen)}
    gpc = {"Sec-GPC": "1"}
    told = choose(
        served.cache, {**EVERYTHING, "action": "save", "targeting": True, "told": ["gpc"]}, {}, **gpc
    )
    everything = choose(served.cache, EVERYTHING, {})
    found["told of GPC"] = {**gpc, **cookie(told)}
    found["with other cookies"] = cookie({"a": "1", **everything, "z": "2"})
    for name in everything:
        found[f"only {name}"] = cookie({name: everything[name]})
    if companion := everything.get("consent_variant"):
        nothing = choose(served.cache, {"action": "refuse"}, {})
        found["forged with nothing signed"] = cookie({"consent_variant": companion, "a": "1"})
        found["two companions"] = {
            "Cookie": f"consent_variant={companion}; consent={nothing['consent']}; "
            f"consent_variant={nothing['consent_variant']}"
        }
        found["two choices"] = {"Cookie": f"consent=x; {cookie(everything)['Cookie']}"}
        old = "0" * 12 + companion[12:]
        found["companion of another policy"] = cookie({**everything, "consent_variant": old})
        found["signal at odds"] = {"Sec-GPC": "0", **cookie(everything)}
    return found


def body_of(answer: Answer) -> bytes:
    assert answer.status == 200
    return answer.body


def walk(served: Served, browsers: dict[str, dict[str, str]], seed: int) -> list[tuple[str, str, Answer]]:
    """Send everybody everywhere, in any order, eight at a time."""
    steps = [(name, path) for name in browsers for path in PATHS] * ROUNDS
    random.Random(seed).shuffle(steps)
    print(f"seed {seed}: {len(browsers)} visitors, {len(steps)} requests")
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda step: ask(served.cache, step[1], browsers[step[0]]), steps)
        return [(*step, answer) for step, answer in zip(steps, answers, strict=True)]


def leaks(
    served: Served, browsers: dict[str, dict[str, str]], seed: int
) -> list[tuple[str, str, str | None]]:
    """Return who got another page from the cache than the app would have sent: visitor, path, cache status."""
    truth = {
        (name, path): body_of(ask(served.origin, path, browsers[name])) for name in browsers for path in PATHS
    }
    return [
        (name, path, answer.from_cache)
        for name, path, answer in walk(served, browsers, seed)
        if body_of(answer) != truth[name, path]
    ]


@pytest.fixture
def seed() -> int:
    """A new one each time; the one that fails is printed."""
    return random.randrange(1 << 32)


def test_each_visitor_gets_their_own_page(tmp_path: Path, seed: int) -> None:
    """A cache that heeds what pages say keeps none; files it keeps."""
    with behind(CacheMode.PER_VISITOR, tmp_path, sites=documented(CacheMode.UNIFORM)) as served:
        browsers = visitors(served)
        assert leaks(served, browsers, seed) == []
        statuses = Counter(answer.from_cache for _, _, answer in walk(served, browsers, seed))
        assert statuses.keys() == {"MISS"}
        assert [ask(served.cache, "/style.css").from_cache for _ in range(2)] == ["MISS", "HIT"]


def test_a_cache_that_heeds_nothing_is_seen_to_leak(tmp_path: Path, seed: int) -> None:
    """So the other tests would see it."""
    careless = documented(CacheMode.UNIFORM).replace(
        "proxy_cache site;",
        "proxy_cache site; proxy_ignore_headers Cache-Control Vary Set-Cookie; proxy_cache_valid 60s;",
    )
    with behind(CacheMode.PER_VISITOR, tmp_path, sites=careless) as served:
        found = leaks(served, visitors(served), seed)
        assert len(found) > 100
        assert {status for _, _, status in found} == {"HIT"}


def test_visitors_with_the_same_answers_share_a_page(tmp_path: Path, seed: int) -> None:
    """And nobody with others; who has no key gets theirs from the app, without a trace in the cache."""
    with behind(CacheMode.VARIANT, tmp_path) as served:
        browsers = visitors(served)
        assert leaks(served, browsers, seed) == [], seed
        later = walk(served, browsers, seed + 1)
        by_visitor = {
            name: {answer.from_cache for who, path, answer in later if who == name and path in SHARED_PATHS}
            for name in browsers
        }
        alone = {name for name, statuses in by_visitor.items() if statuses != {"HIT"}}
        assert alone == {
            *(name for name in browsers if "vendor" in name or "DNT: 0" in name),
            *("only consent", "only consent_variant", "forged with nothing signed", "signal at odds"),
            *("two companions", "two choices", "companion of another policy"),
        }, seed  # fmt: skip
        for name in alone:
            assert by_visitor[name] <= {"BYPASS", "MISS"}
        for _, path, answer in later:
            if path not in SHARED_PATHS:
                assert answer.from_cache in ("MISS", "BYPASS")


def test_a_key_that_is_not_the_decisions_never_fills_the_cache(tmp_path: Path) -> None:
    """Even where the cache is set up to believe the readable cookie alone."""
    gullible = documented(CacheMode.VARIANT).replace(r'"~^[^|]+(..)\|\1', r'"~^[^|]*\|..')
    with behind(CacheMode.VARIANT, tmp_path, sites=gullible) as served:
        everything = choose(served.cache, EVERYTHING, {})
        forged = cookie({"consent_variant": everything["consent_variant"]})
        unanswered = body_of(ask(served.origin))
        for _ in range(2):
            answer = ask(served.cache, "/", forged)
            assert (answer.from_cache, answer.body == unanswered) == ("MISS", True)
            assert answer.header("cache-control") == "private, no-store"
            assert answer.cookies == {"consent_variant": ""}
        true = body_of(ask(served.origin, "/", cookie(everything)))
        assert true != unanswered
        for status in ("MISS", "HIT"):
            answer = ask(served.cache, "/", cookie(everything))
            assert (answer.from_cache, answer.body == true) == (status, True)


def test_a_visitor_who_withdraws_gets_the_page_of_who_refused(tmp_path: Path) -> None:
    """At once, from the cache; who took the cookie away gets it back.

    A page that arrives late may bring the readable cookie of before: the cache does not believe it beside another.
    """
    with behind(CacheMode.VARIANT, tmp_path) as served:
        refused = choose(served.cache, {"action": "refuse"}, {})
        without = body_of(ask(served.cache, "/", cookie(refused)))
        granted = choose(served.cache, EVERYTHING, {})
        assert b"hotjar-1.js" in body_of(ask(served.cache, "/", cookie(granted)))
        withdrawn = choose(served.cache, {"action": "withdraw"}, granted)
        answer = ask(served.cache, "/", cookie(withdrawn))
        assert (answer.from_cache, answer.body) == ("HIT", without)
        assert b"hotjar-1.js" not in without
        alone = {"consent": withdrawn["consent"]}
        answer = ask(served.cache, "/", cookie(alone))
        assert (answer.from_cache, answer.body) == ("BYPASS", without)
        assert answer.cookies == {"consent_variant": withdrawn["consent_variant"]}
        late = {**withdrawn, "consent_variant": granted["consent_variant"]}
        answer = ask(served.cache, "/", cookie(late))
        assert (answer.from_cache, answer.body) == ("BYPASS", without)
        assert answer.cookies == {"consent_variant": withdrawn["consent_variant"]}


def test_everybody_gets_the_same_bytes(tmp_path: Path, seed: int) -> None:
    """Fields too, from the app as from the cache, whatever is chosen and however often."""
    with behind(CacheMode.UNIFORM, tmp_path) as served:
        browsers = visitors(served)
        ask(served.cache)
        own = {"date", "x-cache-status", "server", "connection"}
        for path in SHARED_PATHS:
            ask(served.cache, path)
        answers = walk(served, browsers, seed)
        for path in SHARED_PATHS:
            pages = [answer for _, where, answer in answers if where == path]
            assert {answer.from_cache for answer in pages} == {"HIT"}, seed
            pages += [ask(served.origin, path, headers) for headers in browsers.values()]
            assert len({page.body for page in pages}) == 1
            fields = {
                tuple(sorted((key.lower(), value) for key, value in page.headers if key.lower() not in own))
                for page in pages
            }
            assert len(fields) == 1, fields
            assert pages[0].header("vary") is None
            assert pages[0].header("cache-control") == "public, max-age=60"
            assert pages[0].header("set-cookie") is None
        for _, path, answer in answers:
            if path not in SHARED_PATHS:
                assert answer.from_cache == "MISS"
                assert answer.header("cache-control") == "private, max-age=60"


def test_the_account_of_a_page_is_never_kept(tmp_path: Path) -> None:
    """Nor does a page that is kept answer for it."""
    for mode in (CacheMode.VARIANT, CacheMode.UNIFORM):
        (folder := tmp_path / mode).mkdir()
        with behind(mode, folder) as served:
            page = ask(served.cache)
            asked = {"Consent-Report": "1"}
            answers = [ask(served.cache, "/", asked) for _ in range(2)]
            assert [answer.from_cache for answer in answers] == ["BYPASS"] * 2
            assert all(b'id="consent-report"' in answer.body for answer in answers)
            again = ask(served.cache)
            assert (again.from_cache, again.body) == ("HIT", page.body)
