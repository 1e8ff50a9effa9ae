"""A visitor's own receipts: nobody else's, in every form, with the very text shown, and gone when asked for."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

import consent.history
from consent import ConsentMiddleware
from consent.choice import NOBODY, BrowserSignal, Choice
from consent.choice_cookie import MAX_SUBJECTS, ChoiceCookie
from consent.data_folder import DataFolder
from consent.erasure import Erasure
from consent.errors import ErasureHeldError, StoreUnavailable
from consent.evidence import Evidence
from consent.forgetting import MAX_ERASING, Forgetting
from consent.history import PAGE_RECEIPTS, RETRY_AFTER_SECONDS
from consent.log_reading import MAX_READS, Log, LogReading
from consent.policy import Policy, Regime
from consent.receipts import Artefact, Receipt
from consent.sqlite_log import SQLiteReceiptLog
from tests.test_visitor import POLICY, Recorder, Site

SAME_ORIGIN = {"sec-fetch-site": "same-origin"}
BROWSER = {"accept": "text/html,*/*;q=0.8", "accept-language": "de"}
TEXTS = {"en": {"accept": "Yes to all"}}


def first_policy() -> Policy:
    return replace(POLICY, controller="Example Ltd", contact="privacy@example.com")


class Visitor:
    """One browser at a site that is served from a data folder."""

    def __init__(self, app: ConsentMiddleware) -> None:
        self.browser = TestClient(app)

    def get(self, path: str, **headers: str) -> Any:
        return self.browser.get(f"/_consent/{path}", headers=headers)

    def post(self, path: str, data: dict[str, str], **headers: str) -> Any:
        return self.browser.post(
            f"/_consent/{path}", data=data, headers={**SAME_ORIGIN, **headers}, follow_redirects=False
        )

    def choose(self, action: str, language: str = "en", **fields: str) -> None:
        """Send the form of the page of choices, as it is."""
        page = self.get(f"choices?language={language}").text
        (shown,) = set(re.findall(r'name="shown" value="([0-9a-f]{64})"', page))
        data = {"form": "preferences", "action": action, "shown": shown, "language": language, **fields}
        assert self.post("choice", data).status_code == 303

    @property
    def listed(self) -> list[str]:
        """The ids of the receipts on the page of choices, as they stand there."""
        return re.findall(r"receipt\?id=([0-9a-f-]{36})&amp;form=page", self.get("choices").text)

    @property
    def receipts(self) -> list[dict[str, Any]]:
        return list(self.get("receipts").json()["receipts"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("history") / "data"


@pytest.fixture(scope="module")
def app(folder: Path) -> ConsentMiddleware:
    return ConsentMiddleware(Starlette(), policy=first_policy(), data=folder)


@pytest.fixture
def visitor(app: ConsentMiddleware) -> Iterator[Visitor]:
    visitor = Visitor(app)
    with visitor.browser:
        yield visitor


def artefacts(folder: Path) -> Callable[[str], Artefact | None]:
    data = DataFolder(folder)
    return SQLiteReceiptLog(data.receipts_path, data.ledger_keys(create=False)).artefact


def test_who_has_not_answered_has_no_history(visitor: Visitor) -> None:
    """The page is as before: nothing is read, and there is nothing to forget."""
    page = visitor.get("choices")
    assert page.status_code == 200
    assert 'id="history"' not in page.text
    assert 'id="forget"' not in page.text
    assert visitor.get("receipts").status_code == 404
    answer = visitor.post("forget", {"return_to": "/"}, accept="application/json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "nobody")
    assert "set-cookie" not in answer.headers


def test_the_newest_answer_comes_first_in_words(visitor: Visitor) -> None:
    """When, what, how, and until when it holds; in the visitor's language."""
    visitor.choose("save", performance="on")
    visitor.choose("withdraw", language="de")
    given, withdrawn = visitor.receipts[1], visitor.receipts[0]
    page = visitor.get("choices?language=de").text
    history = page[page.index('id="history"') :]
    assert visitor.listed == [withdrawn["receipt_id"], given["receipt_id"]]
    assert re.findall('<h3 class="consent-category-name">([^<]+)', history)[:2] == [
        "Sie haben Ihre Zustimmung widerrufen",
        "Sie haben zugestimmt",
    ]
    moment = given["time"]
    assert (
        f'<time datetime="{moment}" dir="ltr">{moment[:10]} {moment[11:16]} UTC</time> &middot; '
        "In der Cookie-Auswahl" in history
    )
    assert history.count("<li>Leistung: <strong>erlaubt</strong></li>") == 1
    assert history.count("<li>Leistung: <strong>nicht erlaubt</strong></li>") == 1
    assert re.search(r"Ihre Antwort vom \d{4}-\d\d-\d\d gilt bis \d{4}-\d\d-\d\d\.", page)


def test_a_page_lists_some_and_leads_to_the_older_ones(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bounded, whoever chooses however often; files too."""
    for _ in range(PAGE_RECEIPTS + 2):
        visitor.choose("refuse")
    everything = [receipt["receipt_id"] for receipt in visitor.receipts]
    assert len(everything) == PAGE_RECEIPTS + 2
    page = visitor.get("choices").text
    assert visitor.listed == everything[:PAGE_RECEIPTS]
    (older,) = re.findall(
        r'href="/_consent/(choices\?before=\d+-\d+)&amp;language=en&amp;return_to=/#history"', page
    )
    rest = visitor.get(older).text
    assert re.findall(r"receipt\?id=([0-9a-f-]{36})&amp;form=page", rest) == everything[PAGE_RECEIPTS:]
    assert "choices?before=" not in rest
    assert visitor.get("choices?before=x").text.count("form=page") == PAGE_RECEIPTS
    monkeypatch.setattr(consent.history, "MAX_EXPORTED", PAGE_RECEIPTS)
    for form in ("receipt", "iso-27560"):
        files = [visitor.get(f"receipts?form={form}").json()]
        files.append(visitor.get(f"receipts?form={form}&before={files[0]['next']}").json())
        assert "next" not in files[1]
        assert [record_id(record) for file in files for record in records(file)] == everything


@pytest.mark.parametrize(
    "path",
    [
        "receipt?id={}",
        "receipt?id={}&form=page",
        "receipt?id={}&form=kantara",
        "receipt?id={}&form=iso-27560",
        "text?id={}",
        "text?id={}&form=file",
    ],
)
def test_nobody_gets_the_receipt_of_somebody_else(
    app: ConsentMiddleware, visitor: Visitor, path: str
) -> None:
    """Nor is told that there is one: the answer is that of an id that nobody has."""
    other = Visitor(app)
    visitor.choose("accept")
    other.choose("accept")
    (mine,) = visitor.listed
    assert [r["receipt_id"] for r in other.receipts] != [mine]
    made_up = "00000000-0000-4000-8000-000000000001"
    answers = [other.get(path.format(asked), accept="application/json") for asked in (mine, made_up)]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].content == answers[1].content
    assert answers[0].json()["error"]["code"] == "no-receipt"


def test_the_exact_text_is_shown_again_and_does_nothing(folder: Path, visitor: Visitor) -> None:
    """To the byte, in its language, in a page without scripts, forms or an origin; only with a receipt that has it."""
    visitor.choose("accept", language="de")
    (receipt,) = visitor.receipts
    kept = artefacts(folder)(receipt["shown_hash"])
    assert kept is not None
    page = visitor.get(f"text?id={receipt['receipt_id']}&language=fr", **BROWSER)
    assert page.status_code == 200
    assert page.headers["content-security-policy"] == (
        "default-src 'none'; style-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'; "
        "sandbox allow-downloads"
    )
    assert (page.headers["cache-control"], page.headers["x-content-type-options"]) == ("no-store", "nosniff")
    assert page.content.count(kept.content) == 1
    assert 'lang="de" dir="ltr" data-nosnippet' in kept.content.decode()
    assert '<h1 class="consent-title">Le texte qui vous a été montré</h1>' in page.text
    file = visitor.get(f"text?id={receipt['receipt_id']}&form=file")
    assert sha256(file.content).hexdigest() == receipt["shown_hash"]
    assert (
        file.headers["content-disposition"]
        == f"attachment; filename=consent-text-{receipt['shown_hash'][:12]}.html"
    )
    assert file.headers["content-security-policy"].endswith("; sandbox allow-downloads")


def test_a_text_outlives_its_policy_and_its_wording(folder: Path, app: ConsentMiddleware) -> None:
    """Another policy, other texts, a later start: the old receipt still has its text, and the new one its own."""
    before = Visitor(app)
    before.choose("accept", language="en")
    (old,) = before.receipts
    page_before = before.get(f"text?id={old['receipt_id']}").text
    changed = replace(first_policy(), controller="Somebody Else Ltd", vendors=(), texts=TEXTS)
    after = Visitor(ConsentMiddleware(Starlette(), policy=changed, data=folder))
    after.browser.cookies = before.browser.cookies
    with after.browser:
        after.choose("save", functional="on")
        new, still = after.receipts
        assert still == old
        assert (new["policy_version"], new["shown_hash"]) != (old["policy_version"], old["shown_hash"])
        old_file, new_file = (
            after.get(f"text?id={receipt['receipt_id']}&form=file").content for receipt in (old, new)
        )
        assert sha256(old_file).hexdigest() == old["shown_hash"]
        assert b">Accept all<" in old_file
        assert b"Example Stats" in old_file
        assert b">Yes to all<" in new_file
        assert b"Example Stats" not in new_file
        # Who asked for it then is told in the words of then, and to others' tools.
        page = after.get(f"receipt?id={old['receipt_id']}&form=page").text
        assert "Responsible: Example Ltd" in page
        kantara = after.get("receipts?form=kantara").json()["receipts"]
        assert [each["piiControllers"][0]["piiController"] for each in kantara] == [
            "Somebody Else Ltd",
            "Example Ltd",
        ]
        third_parties = [each["services"][0]["purposes"][0]["thirdPartyName"] for each in kantara]
        assert third_parties == ["", "Example Metrics Ltd"]
        shown = after.get(f"text?id={old['receipt_id']}").text
        region = 'class="consent-shown"'
        assert shown[shown.index(region) :] == page_before[page_before.index(region) :]


def test_the_forms_of_others_are_offered_where_there_are_any(visitor: Visitor) -> None:
    """Kantara has no word for a refusal; in a file of all of them it says which are left out."""
    visitor.choose("accept")
    visitor.choose("withdraw")
    withdrawn, given = visitor.receipts
    ids = {"given": given["receipt_id"], "withdrawn": withdrawn["receipt_id"]}
    page = visitor.get("choices").text
    assert re.findall(r"receipt\?id=([0-9a-f-]{36})&amp;form=kantara", page) == [ids["given"]]
    kantara = visitor.get(f"receipt?id={ids['given']}&form=kantara")
    assert kantara.headers["content-type"] == "application/json"
    assert kantara.headers["content-disposition"] == "attachment; filename=consent-receipt-kantara.json"
    assert (kantara.json()["version"], kantara.json()["consentReceiptID"]) == ("KI-CR-v1.1.0", ids["given"])
    assert kantara.json()["piiControllers"][0]["piiController"] == "Example Ltd"
    assert visitor.get(f"receipt?id={ids['withdrawn']}&form=kantara").status_code == 404
    linked = visitor.get(f"receipt?id={ids['withdrawn']}&form=iso-27560")
    assert linked.headers["content-type"] == "application/ld+json"
    assert linked.headers["content-disposition"] == "attachment; filename=consent-receipt-iso-27560.jsonld"
    assert linked.json()["header"]["record_id"] == ids["withdrawn"]
    everything = visitor.get("receipts?form=kantara").json()
    assert [receipt["consentReceiptID"] for receipt in everything["receipts"]] == [ids["given"]]
    assert everything["left_out"] == [ids["withdrawn"]]
    graph = visitor.get("receipts?form=iso-27560").json()
    assert [record["header"]["record_id"] for record in graph["@graph"]] == [ids["withdrawn"], ids["given"]]
    assert (graph["@context"], graph["left_out"]) == ([linked.json()["@context"]], [])
    assert visitor.get("receipts?form=pdf").status_code == 404
    assert visitor.get(f"receipt?id={ids['given']}&form=pdf").status_code == 404


def test_a_receipt_can_be_read_and_printed(visitor: Visitor) -> None:
    """In words, and to the letter below; with no script, and in nobody's frame."""
    visitor.choose("accept")
    (receipt,) = visitor.receipts
    page = visitor.get(f"receipt?id={receipt['receipt_id']}&form=page&language=de", **BROWSER)
    assert page.headers["content-security-policy"].startswith(
        "default-src 'none'; style-src 'self'; form-action"
    )
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert '<h1 class="consent-title">Beleg: Sie haben zugestimmt</h1>' in page.text
    assert "Verantwortlich: Example Ltd" in page.text
    record = page.text[page.text.index("<pre") : page.text.index("</pre>")].partition(">")[2]
    assert json.loads(record.replace("&#34;", '"')) == receipt


def test_every_receipt_comes_with_its_proof(folder: Path, visitor: Visitor) -> None:
    """Not only the present choice's."""
    visitor.choose("accept")
    visitor.choose("refuse")
    receipt_id = visitor.listed[1]
    evidence = Evidence.parse(wait_for(lambda: visitor.get(f"receipt?id={receipt_id}")).content)
    assert Receipt.from_bytes(evidence.record).receipt_id == receipt_id
    assert evidence.verify(verifiers(folder)).size >= 2


# ---- forgetting


def test_who_is_forgotten_leaves_a_no_without_a_name(folder: Path, visitor: Visitor) -> None:
    """Receipts erased, certificate given, cookie without identity; the next answer is a new visitor's."""
    visitor.choose("accept")
    (receipt,) = visitor.receipts
    answer = visitor.post("forget", {"language": "de", "return_to": "/shop"}, **BROWSER)
    assert answer.status_code == 200
    assert "Ihre Belege sind gelöscht, und alles Optionale ist aus." in answer.text
    assert '<a href="/shop">' in answer.text
    (certificate,) = re.findall(r'href="/_consent/(receipt\?id=[0-9a-f-]{36})"', answer.text)
    evidence = Evidence.parse(wait_for(lambda: visitor.get(certificate)).content)
    evidence.verify(verifiers(folder))
    assert len(Erasure.from_bytes(evidence.record).erased) == 1

    choice = stored(folder, visitor)
    assert (choice.subject, choice.granted, choice.vendors) == (NOBODY, frozenset(), {})
    assert visitor.listed == []
    assert 'id="forget"' not in visitor.get("choices").text
    assert visitor.get("receipts").status_code == 404
    assert visitor.get(f"receipt?id={receipt['receipt_id']}").status_code == 404
    # Once more, as by loading the page anew: there is nothing left to do.
    again = visitor.post("forget", {"return_to": "/"}, accept="application/json")
    assert again.json() == {"erased": 0, "erasures": []}

    visitor.choose("accept")
    (new,) = visitor.receipts
    assert (new["previous"], new["outcome"]) == (None, "given")
    assert new["subject"] not in (receipt["subject"], NOBODY)


@pytest.mark.parametrize(
    ("headers", "content_type", "body", "status", "code"),
    [
        ({"sec-fetch-site": "cross-site"}, None, b"", 403, "cross-origin"),
        ({"origin": "https://evil.example"}, None, b"", 403, "cross-origin"),
        ({}, None, b"", 403, "cross-origin"),
        (SAME_ORIGIN, "text/plain", b"return_to=/", 415, "unsupported-media-type"),
        (SAME_ORIGIN, "application/json", b"[]", 400, "bad-request"),
        (SAME_ORIGIN, "application/json", b"", 400, "bad-request"),
        (SAME_ORIGIN, "application/json", b'{"action":"forget"}', 400, "bad-request"),
        (SAME_ORIGIN, "application/json", b'{"language":1}', 400, "bad-request"),
        (SAME_ORIGIN, "application/json", b'{"language":"de","language":"en"}', 400, "bad-request"),
        (SAME_ORIGIN, "application/json", b"[" * 10_000, 400, "bad-request"),
        ({}, "application/json", b"{}", 403, "cross-origin"),
        (SAME_ORIGIN, None, b"action=forget", 400, "bad-request"),
        (SAME_ORIGIN, None, b"language=de&language=de", 400, "bad-request"),
        (SAME_ORIGIN, None, b"a" * 20_000, 413, "too-large"),
    ],
)
def test_only_the_visitor_s_own_form_forgets(
    folder: Path,
    visitor: Visitor,
    headers: dict[str, str],
    content_type: str | None,
    body: bytes,
    status: int,
    code: str,
) -> None:
    """Nobody is forgotten by a link or a page of somebody else, and by nothing that is not understood."""
    visitor.choose("accept")
    kind = {"content-type": content_type or "application/x-www-form-urlencoded"}
    answer = visitor.browser.post(
        "/_consent/forget", content=body, headers={**kind, **headers, "accept": "application/json"}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert "set-cookie" not in answer.headers
    assert visitor.get("forget").status_code == 405
    assert len(visitor.receipts) == 1


def test_a_script_forgets_with_json(visitor: Visitor) -> None:
    """And is answered in JSON, its errors too, in words that are about forgetting."""
    sent = {**SAME_ORIGIN, "accept": "*/*", "accept-language": "en"}
    nobody = visitor.browser.post("/_consent/forget", json={"language": "de"}, headers=sent)
    assert (nobody.status_code, nobody.headers["content-type"]) == (404, "application/json")
    assert nobody.json()["error"] == {
        "code": "nobody",
        "message": "Es wurde nichts gelöscht: Hier gibt es keine Antwort, über die Ihre Belege zu finden wären.",
    }
    visitor.choose("accept")
    odd = visitor.browser.post(
        "/_consent/forget", content=b"x", headers={**sent, "accept": "application/json"}
    )
    assert odd.json()["error"]["message"] == "Send it as a form or as JSON. Nothing was changed."
    away = visitor.browser.post("/_consent/forget", json={}, headers={"sec-fetch-site": "cross-site"})
    assert away.json()["error"]["message"].startswith("This did not come from a page of this site")
    answer = visitor.browser.post("/_consent/forget", json={"return_to": "/"}, headers=sent)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert (answer.json()["erased"], len(answer.json()["erasures"])) == (1, 1)
    assert visitor.get("receipts").status_code == 404


class Forgetful(Recorder):
    """A store that can erase, or fails at it."""

    def __init__(self, failure: Exception | None = None) -> None:
        super().__init__()
        self.erasing = failure
        self.erased: list[str] = []
        self.gate: asyncio.Event | None = None

    async def erase(self, subject: str, *, series: str | None = None) -> Sequence[Erasure]:
        if self.gate is not None:
            await self.gate.wait()
        if self.erasing is not None:
            raise self.erasing
        self.erased.append(subject)
        return []

    async def expire(self, *, site: str, before_ms: int, dry_run: bool = False) -> int:
        raise NotImplementedError

    async def hold(self, subject: str, *, reason: str | None) -> bool:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("failure", "status", "code", "words"),
    [
        (ErasureHeldError("a claim"), 409, "held", "have to be kept for now, so nothing was erased"),
        (StoreUnavailable("down"), 503, "not-erased", "It is not certain that your receipts are erased"),
        (RuntimeError("a defect"), 503, "not-erased", "It is not certain that your receipts are erased"),
    ],
)
def test_nobody_is_told_to_be_forgotten_who_is_not(
    failure: Exception, status: int, code: str, words: str
) -> None:
    """Records that are held, and a store that is down: the cookie stays, so that it can be asked for again."""
    site = Site(store=Forgetful(failure))
    site.choose("accept")
    kept = site.kept
    form = {"content-type": "application/x-www-form-urlencoded", **SAME_ORIGIN}
    answer = site.request("POST", "/_consent/forget", headers={**form, "accept": "text/html"})
    assert (answer.status, answer.cookies, site.kept) == (status, [], kept)
    assert words in answer.body.decode()
    as_json = site.request("POST", "/_consent/forget", headers={**form, "accept": "application/json"})
    assert as_json.json["error"]["code"] == code
    assert as_json.headers.get("retry-after") == (str(RETRY_AFTER_SECONDS) if status == 503 else None)


@pytest.mark.parametrize("regime", Regime)
def test_who_is_forgotten_stays_refused_in_every_regime(regime: Regime) -> None:
    """Where silence is a yes, a no would become one; also under the next policy, and after half a year."""
    policy = replace(POLICY, regime=regime)
    store = Forgetful()
    site = Site(policy, store=store)
    site.choose("refuse")
    form = {"content-type": "application/x-www-form-urlencoded", **SAME_ORIGIN, "cookie": "_es=1; _ads=2"}
    answer = site.request("POST", "/_consent/forget", headers=form, scheme="https")
    assert answer.status == 200
    assert store.erased == ["ac" * 16]
    assert "Max-Age=34560000" in answer.cookies[0]
    assert {line.partition("=")[0] for line in answer.expiries} == {"_es", "_ads"}
    for later, version in ((0, policy.version), (179, policy.version), (200, policy.version), (0, "0" * 12)):
        choice, *_ = site.cookie.read(
            [(b"cookie", site.kept.encode())], now=int(site.now) + later * 86_400, policy_version=version
        )
        assert choice is not None
        assert (choice.granted, choice.is_nobodys) == (frozenset(), True)
    assert 'id="forget"' not in site.get("/_consent/choices").body.decode()


def test_all_that_a_browser_is_known_by_is_forgotten(folder: Path, visitor: Visitor) -> None:
    """Of the host and of its domain, say: each with its certificate. What somebody signed themselves is nobody."""
    others = [Visitor(visitor.browser.app) for _ in range(2)]  # type: ignore[arg-type]
    for one in (visitor, *others):
        one.choose("accept")
    kept = [one.browser.cookies["consent"] for one in (visitor, *others)]
    forged = ChoiceCookie([b"another key, of 32 bytes or more"]).header(
        replace(stored(folder, visitor), subject="ab" * 16), secure=True, now=int(time.time())
    )
    line = "; ".join([f"consent={kept[1]}", forged.decode().partition(";")[0], f"consent={kept[0]}"])
    headers = {**SAME_ORIGIN, "accept": "application/json", "cookie": line}
    answer = TestClient(visitor.browser.app).post("/_consent/forget", json={}, headers=headers)
    assert answer.json()["erased"] == len(answer.json()["erasures"]) == 2
    for certificate in answer.json()["erasures"]:
        evidence = Evidence.parse(wait_for(partial(visitor.get, f"receipt?id={certificate}")).content)
        evidence.verify(verifiers(folder))
    assert [one.listed for one in (visitor, others[0])] == [[], []]
    assert len(others[1].listed) == 1


def test_those_known_by_what_a_signal_took_back_are_forgotten_too() -> None:
    """Browsers let go of the choice itself before. Who was forgotten already is nobody; and there is a limit."""
    store = Forgetful()
    site = Site(store=store)
    site.choose("accept")
    made, *_ = site.cookie.read(
        [(b"cookie", site.kept.encode())], now=int(site.now), policy_version=POLICY.version
    )
    assert made is not None

    def line(*subjects: str) -> str:
        kept = [replace(made, subject=subject, granted=frozenset()) for subject in subjects]
        return "; ".join(
            site.cookie.taken_header(each, each.receipt_id, BrowserSignal.GPC, secure=True, now=int(site.now))
            .decode()
            .partition(";")[0]
            for each in kept
        )

    form = {"content-type": "application/json", **SAME_ORIGIN}
    site.kept = ""
    answer = site.request(
        "POST", "/_consent/forget", body=b"{}", headers={**form, "cookie": line("ab" * 16, NOBODY)}
    )
    assert (answer.status, store.erased) == (200, ["ab" * 16])
    store.erased.clear()
    many = [f"{number:032x}" for number in range(1, MAX_SUBJECTS + 2)]
    assert (
        site.request(
            "POST", "/_consent/forget", body=b"{}", headers={**form, "cookie": line(*many[:-1])}
        ).status
        == 200
    )
    assert store.erased == many[:-1]
    answer = site.request("POST", "/_consent/forget", body=b"{}", headers={**form, "cookie": line(*many)})
    assert (answer.status, answer.json["error"]["code"], answer.cookies) == (503, "not-erased", [])


def test_only_a_few_are_forgotten_at_once() -> None:
    """Each erasure overwrites what it frees: who comes when there is no room is asked to come again."""

    async def crowd() -> list[int]:
        store = Forgetful()
        store.gate = asyncio.Event()
        site = Site(store=store)
        site.cookie = ChoiceCookie([b"0123456789abcdef" * 2])
        endpoint = site.app._forgetting
        assert isinstance(endpoint, Forgetting)
        tasks = [asyncio.create_task(endpoint._erased(["ab" * 16])) for _ in range(MAX_ERASING + 1)]
        await asyncio.sleep(0)
        store.gate.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        return [getattr(outcome, "status", 200) for outcome in outcomes]

    assert sorted(asyncio.run(crowd())) == [200] * MAX_ERASING + [503]


# ---- when the log cannot be read


def test_a_log_that_cannot_be_read_takes_nothing_else_from_the_page() -> None:
    """The choice itself needs no log; what does is answered 503."""

    def broken() -> Log:
        raise StoreUnavailable("down")

    site = Site(store=Forgetful(), ledger=broken)
    site.choose("accept")
    page = site.get("/_consent/choices")
    assert page.status == 200
    assert "Your receipts cannot be read right now." in page.body.decode()
    assert 'name="performance" value="on"' in page.body.decode()
    for path in ("receipts", "receipt", "text"):
        answer = site.get(f"/_consent/{path}", query=f"id={site.choice and site.choice.receipt_id}")
        assert (answer.status, answer.headers["retry-after"]) == (503, str(RETRY_AFTER_SECONDS))


def test_only_so_many_read_at_once() -> None:
    """Further ones are turned away at once, and there is room again afterwards."""

    async def crowd() -> tuple[list[str], str]:
        reading = LogReading(lambda: None)  # type: ignore[arg-type, return-value]
        slow = [asyncio.create_task(reading.read(lambda log: time.sleep(0.05))) for _ in range(MAX_READS + 2)]
        outcomes = await asyncio.gather(*slow, return_exceptions=True)
        names = sorted(type(outcome).__name__ for outcome in outcomes)
        return names, await reading.read(lambda log: "read")

    names, then = asyncio.run(crowd())
    assert names == ["NoneType"] * MAX_READS + ["StoreUnavailable"] * 2
    assert then == "read"


def records(file: dict[str, Any]) -> list[dict[str, Any]]:
    return list(file.get("receipts") or file["@graph"])


def record_id(record: dict[str, Any]) -> str:
    return str(record.get("receipt_id") or record["header"]["record_id"])


def stored(folder: Path, visitor: Visitor) -> Choice:
    """Return the choice in the visitor's cookie."""
    cookie = ChoiceCookie(DataFolder(folder).keys())
    line = f"consent={visitor.browser.cookies['consent']}".encode()
    choice, *_ = cookie.read([(b"cookie", line)], now=int(time.time()), policy_version=first_policy().version)
    assert choice is not None
    return choice


def verifiers(folder: Path) -> Sequence[Any]:
    data = DataFolder(folder)
    with closing(SQLiteReceiptLog(data.receipts_path, data.ledger_keys(create=False))) as log:
        return log.verifiers()


def wait_for(ask: Callable[[], Any]) -> Any:
    """Ask again until a checkpoint covers it."""
    deadline = time.monotonic() + 10
    while (answer := ask()).status_code == 404 and answer.headers["retry-after"] == "2":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert answer.status_code == 200
    return answer
