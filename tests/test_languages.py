"""Languages: which of them a visitor is spoken to in, and what follows for pages, caches, forms and receipts."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from consent import ConfigurationError, ConsentMiddleware, Policy, load_catalog, load_policy
from consent.banner import Banner
from consent.data_folder import DataFolder
from consent.languages import MAX_ACCEPTED_BYTES, Languages
from consent.placeholder import Placeholders
from consent.policy import CacheMode
from consent.policy_file import locate_in_policy
from consent.sqlite_log import SQLiteReceiptLog
from consent.texts import languages
from tests.exchange import HTML, answering, around, ask

THREE = Policy(languages=("en", "de", "ja"))
SAME_SITE = {"sec-fetch-site": "same-origin"}


@pytest.mark.parametrize(
    ("asked", "tag"),
    [
        (b"", "en"),
        (b"de", "de"),
        (b"DE", "de"),
        (b"de-AT", "de"),
        (b"de-Latn-AT-1996", "de"),
        (b"fr, ja;q=0.5", "ja"),
        (b"en;q=0.3, de;q=0.8, ja;q=0.5", "de"),
        (b"de;q=0.8, ja;q=0.8", "de"),
        (b"ja;q=0.001, xx;q=1.000", "ja"),
        (b" de\t; q=0.5 ,\tja ;q=0.6", "ja"),
        (b"*", "en"),
        (b"*;q=0.5, ja;q=0.6", "ja"),
        (b"en;q=0, *", "de"),
        (b"en;q=0, de;q=0.0, *;q=0.1", "ja"),
        (b"de-AT, de;q=0", "en"),
        (b"de, de-AT;q=0", "de"),
        (b"*;q=0", "en"),
        (b"en;q=0, de;q=0, ja;q=0, *", "en"),
        # Weights and ranges that are none are passed over, each alone.
        (b"de;q=2, ja;q=0.1", "ja"),
        (b"de;q=1.001, ja;q=0.1", "ja"),
        (b"de;q=-1, ja", "ja"),
        (b"de;q=0.1234, ja;q=0.1", "ja"),
        (b"de;q=nan, ja;q=0.1", "ja"),
        (b"de;q=1e1, ja;q=0.1", "ja"),
        (b"de;q=, ja;q=0.1", "ja"),
        (b"de;level=1, ja;q=0.1", "ja"),
        (b"de_AT, ja;q=0.1", "ja"),
        (b"d\xe9, \xff, -, --, ;q=1, ja;q=0.1", "ja"),
        (b"../../de, ja;q=0.1", "ja"),
        (b"de-*, ja;q=0.1", "ja"),
        (b"abcdefghi, ja;q=0.1", "ja"),
        (b"de" + b"-a" * 20 + b", ja;q=0.1", "ja"),
        (b"\x00, ja", "ja"),
        (b",,,, ja", "ja"),
        # Of what nobody sends, the beginning counts.
        (b"ja, " + b"x" * (1 << 20), "ja"),
        (b"x" * (1 << 20), "en"),
        (b"x" * (1 << 20) + b", ja", "en"),
        (b"xx," * 100_000 + b"ja", "en"),
        (b"ja," * 100_000, "ja"),
        (b"de;q=0.5," + b" " * (1 << 20) + b"ja", "de"),
    ],
)
def test_a_browser_is_answered_in_the_first_of_its_languages_that_there_is(asked: bytes, tag: str) -> None:
    """Lookup by RFC 4647, section 3.4, of what is well-formed by RFC 9110, section 12.5.4."""
    site = Languages(THREE)
    assert [site.accepted(asked), site.accepted(asked)] == [tag, tag]


@pytest.mark.parametrize(
    ("asked", "tag"),
    [(b"zh-TW", "zh-Hant"), (b"zh-CN,zh;q=0.9", "zh-Hans"), (b"nn", "nb"), (b"sr-Latn-RS", "sr-Latn"), (b"iw", "he")],
)  # fmt: skip
def test_other_tags_of_a_language_find_it(asked: bytes, tag: str) -> None:
    assert Languages(Policy()).accepted(asked) == tag


def test_hostile_values_cost_little_and_are_not_remembered() -> None:
    """However long, and however many there are."""
    site = Languages(THREE)
    began = time.process_time()
    for number in range(300):
        site.accepted(b"de-%d, " % number + b"x-" * 500_000)
        site.accepted(b"zh-" + b"-".join([b"aaaaaaaa"] * 7) + b"," + b"a," * 400 + b"%d" % number)
    assert time.process_time() - began < 1
    assert not site._memo
    for number in range(5000):
        site.accepted(b"x%d" % number)
    assert len(site._memo) <= 512
    assert sum(map(len, site._memo)) < 512 * 128
    assert MAX_ACCEPTED_BYTES == 1000


def test_without_configuration_all_languages_are_offered_and_english_is_the_default() -> None:
    site = Languages(Policy())
    assert sorted(site.offered) == list(languages())
    assert (site.default, next(iter(site.offered)), site.settled("/")) == ("en", "en", None)


@pytest.mark.parametrize(
    ("policy", "path", "tag"),
    [
        (Policy(language="de"), "/", "de"),
        (Policy(language="de-AT"), "/ja/", "de"),
        (Policy(language="de", language_paths={"/ja/": "ja"}), "/ja/x", "ja"),
        (Policy(language="de", language_paths={"/ja/": "ja"}), "/ja", "ja"),
        (Policy(language="de", language_paths={"/ja": "ja"}), "/jar", "de"),
        (Policy(language_paths={"/": "de", "/a/": "ja", "/a/b/": "en"}), "/a/b/c", "en"),
        (Policy(language_paths={"/": "de", "/a/": "ja", "/a/b/": "en"}), "/a/c", "ja"),
        (Policy(language_paths={"/": "de", "/a/": "ja", "/a/b/": "en"}), "/c", "de"),
        (Policy(language_paths={"/ja/": "ja"}), "/", None),
        (Policy(languages=("ja",)), "/", "ja"),
        (Policy(languages=("ja", "en"), cache=CacheMode.VARIANT), "/", "ja"),
        (Policy(cache=CacheMode.UNIFORM), "/", "en"),
        (Policy(cache=CacheMode.UNIFORM, language_paths={"/ja/": "ja"}), "/ja/", "ja"),
    ],
)
def test_the_path_goes_before_the_setting(policy: Policy, path: str, tag: str | None) -> None:
    """And in the shared cache modes nothing comes after it."""
    site = Languages(policy)
    assert site.settled(path) == tag
    assert site.choose(path, b"tr, ja;q=0.9") == (tag or ("ja" if policy.languages else "tr"))


@pytest.mark.parametrize(
    ("text", "line", "key", "message"),
    [
        ('[site]\nlanguages = ["en", "xx"]', 2, "site.languages", "there are no texts in 'xx'"),
        ('[site]\nlanguages = ["en"]\nlanguage_paths = { "/de/" = "de" }', 3, "site.language_paths", "add it there"),
        ('[site]\nlanguage_paths = { "/x/" = "xx" }', 2, "site.language_paths", "there are no texts in 'xx'"),
        ('[site]\nlanguage = "en"\nlanguages = ["en"]', 3, "site.languages", 'remove "languages"'),
        ('[texts]\n[texts.de]\nacept = "Ja"', 3, "texts.de.acept", "did you mean 'accept'?"),
        ('[site]\nlanguages = ["en"]\n[texts.de]\naccept = "Ja"', 3, "texts.de", "the site's languages are en"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line_its_key_and_the_remedy(
    tmp_path: Path, text: str, line: int, key: str, message: str
) -> None:
    path = tmp_path / "consent.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        Languages(load_policy(path, load_catalog())[0])
    error = locate_in_policy(caught.value, path)
    assert (error.line, error.key) == (line, key)
    assert message in error.message


def test_texts_are_changed_for_one_language() -> None:
    """Those without a tag for the default one; both forms may be there."""
    texts: Mapping[str, Any] = {"accept": "Sure", "en": {"refuse": "Nope"}, "de-AT": {"accept": "Passt"}}
    offered = Languages(Policy(texts=texts)).offered
    assert (offered["en"]["accept"], offered["en"]["refuse"]) == ("Sure", "Nope")
    assert (offered["de"]["accept"], offered["de"]["refuse"]) == ("Passt", "Alle ablehnen")
    assert offered["ja"]["accept"] not in ("Sure", "Passt")


def test_languages_and_wording_ask_nobody_again() -> None:
    """The policy's version is what a choice is good for, in every language."""
    changed = Policy(languages=("de", "ja"), language_paths={"/ja/": "ja"}, texts={"ja": {"accept": "y"}})
    assert changed.version == Policy().version == Policy(language="de").version


def test_memory_is_shared_by_all_languages() -> None:
    """However many are asked for: fragments and texts shown are bounded together."""
    banner = Banner(Policy())
    assert banner.in_language("en") is banner
    for tag in banner.languages.offered:
        one = banner.in_language(tag)
        assert one is banner.in_language(tag)
        assert one.language == tag
        assert one.shown_by_hash("0" * 64) is None
        assert len(one._variant_by_hash) == 24
    assert len(banner._shown) <= 128
    assert len(banner._memo) <= 256


# ---- pages


def page(app: Any, path: str = "/", **headers: str) -> Any:
    return ask(app, path, headers={k.replace("_", "-"): v for k, v in headers.items()})


def speaking(policy: Policy, *, body: bytes = b"<html><body>x</body></html>", **options: Any) -> Any:
    site = answering(body, headers=[HTML, (b"etag", b'"1"')])
    return around(site, policy=policy, banner=Banner(policy), **options)


def language_of(answer: Any) -> str:
    found = re.search(rb'aria-label="[^"]*" lang="([A-Za-z-]+)" dir="(ltr|rtl)"', answer.body)
    assert found
    return f"{found[1].decode()} {found[2].decode()}"


VARIES = "Cookie, Sec-GPC, DNT, Sec-Fetch-Dest, HX-Request, Turbo-Frame, X-Up-Version, X-Requested-With"


def test_a_page_speaks_the_browser_s_language_and_says_that_it_depends_on_it() -> None:
    """With its direction; and its tag is another one, so that no other language is ever confirmed."""
    app = speaking(Policy())
    first = page(app, accept_language="ar,en;q=0.5")
    assert language_of(first) == "ar rtl"
    assert first.header("vary") == f"{VARIES}, Accept-Language"
    assert language_of(page(app)) == "en ltr"
    assert first.header("etag").endswith('.ar"')
    assert page(app, accept_language="de").header("etag") == first.header("etag").replace(".ar", ".de")


def test_a_page_is_confirmed_in_its_own_language_only() -> None:
    async def site(scope: Any, receive: Any, send: Any) -> None:
        fresh = b'"v1"' in dict(scope["headers"]).get(b"if-none-match", b"")
        headers = [HTML, (b"etag", b'"v1"')]
        await send({"type": "http.response.start", "status": 304 if fresh else 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if fresh else b"<body>x</body>"})

    app = around(site, policy=Policy(), banner=Banner(Policy()))
    tag = page(app, accept_language="de").header("etag")
    again = page(app, accept_language="de", if_none_match=tag, accept="text/html")
    assert (again.status, again.header("etag"), again.header("vary")) == (
        304,
        tag,
        f"{VARIES}, Accept-Language",
    )
    other = page(app, accept_language="ja", if_none_match=tag, accept="text/html")
    assert (other.status, language_of(other)) == (200, "ja ltr")


@pytest.mark.parametrize(
    "policy",
    [
        Policy(language="de"),
        Policy(languages=("de",)),
        Policy(language_paths={"/": "de"}),
        Policy(languages=("en", "de"), language_paths={"/p/": "de"}),
    ],
)
def test_where_the_path_or_a_setting_says_the_language_nothing_varies_by_it(policy: Policy) -> None:
    app = speaking(policy)
    answers = [page(app, "/p/q", **asked) for asked in ({}, {"accept_language": "ja"})]
    assert answers[0].headers == answers[1].headers
    assert answers[0].body == answers[1].body
    assert language_of(answers[0]) == "de ltr"
    assert answers[0].header("vary") == VARIES


def test_where_nobody_is_spoken_to_nothing_varies_by_the_language() -> None:
    """A page within a page, and what is no page."""
    app = speaking(Policy())
    assert page(app, accept_language="de", sec_fetch_dest="iframe").header("vary") == VARIES
    tag = page(app, accept_language="de", sec_fetch_dest="iframe").header("etag")
    assert not tag.endswith('.de"')


def test_what_is_no_page_has_nothing_to_do_with_languages(monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON, style sheets, pictures: nothing is looked up, whatever the request says."""
    for kind in (b"application/json", b"text/css", b"image/png"):
        site = answering(b"{}", headers=[(b"content-type", kind), (b"etag", b'"1"')])
        app = around(site, policy=Policy(), banner=Banner(Policy()))
        with monkeypatch.context() as patched:
            patched.setattr(Languages, "settled", None)
            patched.setattr(Languages, "accepted", None)
            asked = {"accept_language": "de", "if_none_match": '"2"', "range": "bytes=0-1", "accept": "*/*"}
            answer = page(app, accept_encoding="gzip, br, x", **asked)
        assert (answer.status, answer.body, answer.header("vary")) == (200, b"{}", None)


def test_placeholders_speak_it_too() -> None:
    catalog = load_catalog()
    banner = Banner(Policy())
    app = around(
        answering(b'<body><iframe src="https://www.youtube.com/embed/x"></iframe></body>'),
        policy=Policy(),
        catalog=catalog,
        banner=banner,
        placeholders=Placeholders(catalog, banner, once=True),
    )
    body = page(app, accept_language="de").body.decode()
    assert "YouTube ist ausgeschaltet" in body
    assert body.count('<input type="hidden" name="language" value="de">') == 4
    assert "YouTube is switched off" in page(app, accept_language="fo").body.decode()


@pytest.mark.parametrize("mode", [CacheMode.UNIFORM, CacheMode.VARIANT])
def test_what_a_cache_shares_is_in_one_language_for_each_address(mode: CacheMode) -> None:
    """Byte by byte, whatever the browser asks for, and no cache is told to look at it."""
    policy = Policy(cache=mode, languages=("en", "de", "ja"), language_paths={"/de/": "de"})
    app = speaking(policy)
    for path, tag in (("/", "en ltr"), ("/de/", "de ltr")):
        answers = [
            page(app, path, accept_language=asked, consent_variant="none:") for asked in ("ja", "de", "*", "")
        ]
        assert {language_of(answer) for answer in answers} == {tag}
        assert len({(str(answer.headers), answer.body) for answer in answers}) == 1
        assert "Accept-Language" not in (answers[0].header("vary") or "")


# ---- choices and receipts


async def shown(request: Any) -> HTMLResponse:
    return HTMLResponse("<!doctype html><html><body>x</body></html>")


async def data(request: Any) -> JSONResponse:
    return JSONResponse({"a": 1})


@pytest.fixture
def site(tmp_path: Path) -> Any:
    routes = [Route("/", shown), Route("/de/x", shown), Route("/data", data)]
    app = ConsentMiddleware(
        Starlette(routes=routes), policy=Policy(language_paths={"/de/": "de"}), data=tmp_path / "data"
    )
    with TestClient(app, base_url="https://www.example.com", follow_redirects=False) as client:
        yield client, tmp_path / "data"


def field(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found
    return found[1]


@pytest.mark.parametrize(
    ("path", "asked", "tag", "words"),
    [("/", "ja;q=0.5,eo", "ja", "すべて"), ("/de/x", "ja", "de", "Alle ablehnen"), ("/", "xx", "en", "Refuse all")],
)  # fmt: skip
def test_the_receipt_keeps_the_language_and_the_very_text(
    site: Any, path: str, asked: str, tag: str, words: str
) -> None:
    """It was shown in; and the text can be read again."""
    client, folder = site
    text = client.get(path, headers={"accept-language": asked}).text
    assert words in text
    form = {"action": "accept", "form": "banner", "return_to": path}
    form |= {name: field(text, name) for name in ("shown", "language")}
    # The browser may ask for something else by then.
    answer = client.post("/_consent/choice", data=form, headers={**SAME_SITE, "accept-language": "tr"})
    assert answer.status_code == 303
    known = DataFolder(folder)
    log = SQLiteReceiptLog(known.receipts_path, known.ledger_keys())
    (logged,) = log.list(limit=10)
    assert (logged.receipt.language, logged.receipt.shown_hash) == (tag, form["shown"])
    artefact = log.artefact(form["shown"])
    assert artefact is not None
    assert f'lang="{tag}"' in artefact.content.decode()
    assert words in artefact.content.decode()


def test_a_text_is_of_the_language_that_the_form_names(site: Any) -> None:
    """Another language's text is none that was shown: the visitor looks once more, in the language named."""
    client, _ = site
    text = client.get("/", headers={"accept-language": "ja"}).text
    form = {"action": "accept", "shown": field(text, "shown"), "language": "de"}
    answer = client.post("/_consent/choice", data=form, headers=SAME_SITE)
    assert answer.status_code == 409
    assert '<html lang="de" dir="ltr"' in answer.text


def test_a_form_that_says_no_language_is_answered_by_where_it_leads(site: Any) -> None:
    """As one of a site's own template may be."""
    client, _ = site
    text = client.get("/de/x").text
    form = {"action": "accept", "shown": field(text, "shown"), "return_to": "/de/x"}
    assert client.post("/_consent/choice", data=form, headers=SAME_SITE).status_code == 303
    form |= {"shown": "0" * 64, "language": "tlh"}
    answer = client.post("/_consent/choice", data=form, headers={**SAME_SITE, "accept-language": "ja"})
    assert '<html lang="de" dir="ltr"' in answer.text


def test_saving_on_the_page_of_choices_stays_in_its_language(site: Any) -> None:
    client, _ = site
    text = client.get("/_consent/choices?language=he&return_to=/de/x", headers={"accept-language": "ja"}).text
    assert '<html lang="he" dir="rtl"' in text
    form = {"action": "save", "form": "preferences", "stay": "on", "return_to": "/de/x"}
    form |= {name: field(text, name) for name in ("shown", "language")}
    answer = client.post("/_consent/choice", data=form, headers=SAME_SITE)
    assert answer.headers["location"] == "/_consent/choices?saved=1&language=he&return_to=/de/x"
    assert '<html lang="he" dir="rtl"' in client.get(answer.headers["location"]).text


def test_the_page_of_choices_leads_to_the_other_languages(site: Any) -> None:
    """Each under its own name, marked as what it is; back to the same page."""
    client, _ = site
    text = client.get("/_consent/choices?return_to=/de/x%3Fa=1%26b=2").text
    assert '<html lang="de" dir="ltr"' in text
    assert "<summary>Deutsch</summary>" in text
    links = re.findall(r'<a href="([^"]*)" hreflang="([^"]*)" lang="([^"]*)" dir="([^"]*)">([^<]*)</a>', text)
    assert sorted(link[1] for link in links) == sorted(set(languages()) - {"de"})
    assert all(link[1] == link[2] for link in links)
    assert (
        "/_consent/choices?language=he&amp;return_to=/de/x%3Fa%3D1%26b%3D2", "he", "he", "rtl", "עברית"
    ) in links  # fmt: skip
    only = Banner(Policy(language="de"))
    assert len(only.languages.offered) == 1
    assert "hreflang" not in only.error_page("error_not_found").decode()


def test_errors_are_told_in_it(site: Any) -> None:
    """As a page and as JSON; a language that is not there is passed over."""
    client, _ = site
    german = {"accept-language": "de"}
    assert "Unter dieser Adresse" in client.get("/_consent/no", headers=german).text
    answer = client.get("/_consent/no", headers={**german, "accept": "application/json"})
    assert "Unter dieser Adresse" in answer.json()["error"]["message"]
    cross = client.post("/_consent/choice", headers={**german, "sec-fetch-site": "cross-site"})
    assert (cross.status_code, '<html lang="de"' in cross.text) == (403, True)
    assert '<html lang="en"' in client.get("/_consent/choices?language=../x").text
