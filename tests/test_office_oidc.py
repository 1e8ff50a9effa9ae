"""Sign-in to the console through an OpenID Connect provider, which may be down, mistaken, or another one."""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from click.testing import CliRunner
from joserfc.jwk import ECKey

from consent.cli import main
from consent.errors import ConfigurationError
from consent.office.app import Office
from consent.office.limits import CALLS_A_DAY
from consent.office.oidc.keys import MAX_KEYS, signing_keys
from consent.office.oidc.logout_token import EVENT
from consent.office.oidc.proven import MAX_AGE_SECONDS, SKEW_SECONDS
from consent.office.oidc.provider import (
    AGAIN_SECONDS,
    KEPT_SECONDS,
    MAX_ANSWER_BYTES,
    Provider,
    ProviderFailed,
)
from consent.office.oidc.settings import SECRET_VARIABLE, Grant, OidcSettings, load_oidc
from consent.office.oidc.sign_in import AT_ONCE, COOKIE, MINUTES, SignIn
from consent.office.oidc.signed_in import SignedInBook, person_id
from consent.office.roles import Role
from consent.sqlite_log import SQLiteReceiptLog
from tests.hostile_provider import (
    CLIENT_ID,
    CLIENT_SECRET,
    CURVE,
    KEYS,
    SMALL,
    HostileProvider,
    hostile_provider,
    unsigned,
    with_public_key,
)
from tests.test_office_api import NOW, REASON, Answer, Place

HOME = "/_consent/office"
CONSOLE = f"https://shop.example{HOME}"
SAME = {"sec-fetch-site": "same-origin"}
GRANTS = (
    Grant("groups", "privacy", Role.OFFICER),
    Grant("realm_access.roles", "auditor", Role.ADMINISTRATOR),
    Grant("groups", "shop", Role.ANALYST, ("Example shop",)),
    Grant("email", "al@example.com", Role.READER),
)
Forge = Callable[[dict[str, Any]], str]


class World:
    """An office that people sign in to with a provider, and that provider."""

    def __init__(self, place: Place, provider: HostileProvider) -> None:
        self.place, self.provider = place, provider
        self.restart()

    def settings(self, **changed: Any) -> OidcSettings:
        values = {
            "issuer": self.provider.issuer, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "console": CONSOLE,
            "grants": GRANTS, "name": "Example accounts",
        }  # fmt: skip
        return OidcSettings(**(values | changed))

    def restart(self, **changed: Any) -> None:
        """Begin anew, with what the settings say now."""
        place = self.place
        place.app = Office(
            "/_consent",
            place.folder,
            lambda: SQLiteReceiptLog(place.folder.receipts_path, place.keys),
            lambda: place.now,
            self.settings(**changed),
        )

    def without_provider(self) -> None:
        """Begin anew, with tokens alone."""
        place = self.place
        place.app = Office(
            "/_consent",
            place.folder,
            lambda: SQLiteReceiptLog(place.folder.receipts_path, place.keys),
            lambda: place.now,
        )


class Browser:
    """Somebody's browser, with its cookies."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.jar: dict[str, str] = {}

    def ask(self, path: str = "", *, form: Mapping[str, str] | None = None, **headers: str) -> Answer:
        sent = {"cookie": "; ".join(f"{name}={value}" for name, value in self.jar.items()), **headers}
        body = None
        if form is not None:
            body = urlencode(form).encode()
            sent |= {"content-type": "application/x-www-form-urlencoded", **SAME}
        method = "GET" if form is None else "POST"
        answer = self.world.place.ask(HOME + path, method=method, headers=sent, body=body)
        for field in answer.all("set-cookie"):
            name, _, value = field.partition(";")[0].partition("=")
            assert "; HttpOnly; " in field
            self.jar[name] = value
            if not value:
                del self.jar[name]
        return answer

    def begin(self) -> str:
        """Return where the provider's page is."""
        answer = self.ask("/sign-in/provider")
        assert answer.status == 303, text(answer)
        return answer.headers["location"]

    def back(self, query: str) -> Answer:
        return self.ask(f"/sign-in/return?{query}")

    def sign_in(self, **changed: str) -> Answer:
        return self.back(self.world.provider.let_in(self.begin(), **changed))

    def is_in(self) -> bool:
        return self.ask("/receipts").status != 401


def sign_in(world: World) -> SignIn:
    found = world.place.app._console._door._sign_in
    assert found is not None
    return found


def text(answer: Answer) -> str:
    """Return the words of a page."""
    return " ".join(re.sub(r"<[^>]*>", " ", answer.body.decode()).split())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("oidc") / "data")


@pytest.fixture
def world(place: Place) -> Iterator[World]:
    place.now = NOW
    with hostile_provider(lambda: place.now) as provider:
        yield World(place, provider)


@pytest.fixture
def own_world(tmp_path: Path) -> Iterator[World]:
    """One whose clock may be moved without others finding what it left."""
    place = Place(tmp_path / "data")
    with hostile_provider(lambda: place.now) as provider:
        yield World(place, provider)


# ---- in and out


def test_signing_in_with_the_provider(world: World) -> None:
    """The code flow with PKCE; who came is recorded with issuer, subject and name, and every call counts."""
    browser = Browser(world)
    assert "Sign in with Example accounts" in text(browser.ask())
    address = browser.begin()
    asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
    assert address.startswith(f"{world.provider.issuer}/authorize?")
    assert asked.keys() == {
        "response_type", "client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge",
        "code_challenge_method",
    }  # fmt: skip
    assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
    assert (asked["redirect_uri"], asked["scope"]) == (f"{CONSOLE}/sign-in/return", "openid profile")
    answer = browser.back(world.provider.let_in(address))
    assert (answer.status, "You are signed in as Jo Example" in text(answer)) == (200, True)
    assert f'<meta http-equiv="refresh" content="0; url={HOME}">' in answer.body.decode()
    (session,) = [field for field in answer.all("set-cookie") if "Max-Age=0" not in field]
    assert session.startswith("__Host-consent-office=")
    assert session.endswith("; Path=/; Secure; Max-Age=3600; HttpOnly; SameSite=Strict")
    assert browser.jar.keys() == {"__Host-consent-office"}
    assert "jo-1" not in browser.jar["__Host-consent-office"]
    assert "Jo Example, officer" in text(browser.ask())
    assert browser.ask("/receipts").status == 200
    (entry,) = world.place.accesses.newest(limit=1)
    assert (entry.what, entry.who) == ("signed-in", f"Jo Example (jo-1 at {world.provider.issuer})")
    assert entry.details == {"role": "officer"}
    assert world.provider.forms[-1].keys() == {"grant_type", "code", "redirect_uri", "code_verifier"}


def test_a_role_and_sites_come_from_claims(world: World) -> None:
    """The first grant that fits; a path into a claim; with none that fits nobody comes in."""
    fit: list[tuple[dict[str, Any], str]] = [
        ({"groups": ["x", "privacy"]}, "Jo Example, officer"),
        ({"groups": "privacy"}, "Jo Example, officer"),
        ({"groups": ["shop"]}, "Jo Example, analyst"),
        ({"groups": None, "realm_access": {"roles": ["auditor"]}}, "Jo Example, administrator"),
        ({"groups": None, "email": "al@example.com", "email_verified": True}, "Jo Example, reader"),
        ({"groups": ["privacy"], "name": "  \u202ea\nb\x00  "}, "ab, officer"),
        ({"groups": ["privacy"], "name": None}, "jo-1, officer"),
        ({"groups": ["privacy"], "name": "<b>Jo</b>"}, "&lt;b&gt;Jo&lt;/b&gt;, officer"),
    ]
    for claims, seen in fit:
        world.provider.claims = claims
        browser = Browser(world)
        assert browser.sign_in().status == 200
        assert seen in text(browser.ask()), claims
    unfit: list[dict[str, Any]] = [
        {"groups": ["Privacy"]},
        {"groups": None},
        {"groups": {"privacy": True}},
        {"groups": None, "email": "al@example.com"},
        {"groups": None, "email": "al@example.com", "email_verified": "true"},
        {"groups": None, "realm_access": ["auditor"]},
    ]
    for claims in unfit:
        world.provider.claims = claims
        browser = Browser(world)
        answer = browser.sign_in()
        assert (answer.status, "none of those who may come in" in text(answer)) == (403, True), claims
        assert browser.jar.keys() == {f"__Host-{COOKIE}"}
        assert not browser.is_in()


def test_sites_bound_what_is_seen(world: World) -> None:
    """As with a token."""
    world.provider.claims = {"groups": ["shop"]}
    browser = Browser(world)
    browser.sign_in()
    assert "Example blog" not in browser.ask("/receipts?limit=100").body.decode()
    assert "Example shop" in browser.ask("/receipts?limit=100").body.decode()
    assert browser.ask("/accesses").status == 403


def test_an_export_is_for_who_may_have_it_when_it_is_fetched(world: World) -> None:
    """Whoever ordered it may have another role by then, or be for fewer sites: a token never is, people can be."""
    first, later = Grant("groups", "privacy", Role.OFFICER), {
        "its role": Grant("groups", "privacy", Role.ANALYST),
        "its sites": Grant("groups", "privacy", Role.OFFICER, ("Example shop",)),
    }  # fmt: skip
    world.provider.claims = {"groups": ["privacy"], "sub": "jo-3"}

    def fetched(job_id: str) -> int:
        browser = Browser(world)
        browser.sign_in()
        return browser.ask(f"/exports/{job_id}").status

    for rows, still in (("records", ()), ("index", ("its role",))):
        world.restart(grants=[first])
        browser = Browser(world)
        browser.sign_in()
        assert browser.ask("/exports", form={"rows": rows, "reason": "complaint 12"}).status == 303
        job_id = re.findall(r'exports/([0-9a-f]{16})/cancel"', browser.ask("/exports").body.decode())[0]
        world.place.app.stop()
        world.place.app.export_writer.work(lambda: world.place.app.desk.log, threading.Event())
        assert fetched(job_id) == 200
        for changed, grant in later.items():
            world.restart(grants=[grant])
            assert fetched(job_id) == (200 if changed in still else 403), (rows, changed)


def test_a_session_ends(world: World) -> None:
    """At its time, with the grants that it came from, when it is revoked, and at sign-out, with its copies."""
    browser = Browser(world)
    browser.sign_in()
    assert browser.is_in()
    world.place.now = NOW + 3_600
    assert not browser.is_in()
    world.place.now = NOW
    world.restart()
    assert browser.is_in()
    world.restart(grants=GRANTS[1:])
    assert not browser.is_in()
    world.restart(session_minutes=1)
    browser.sign_in()
    world.place.now = NOW + 59
    assert browser.is_in()
    world.place.now = NOW + 60
    assert not browser.is_in()
    world.place.now = NOW
    world.restart()
    browser.sign_in()
    world.provider.metadata = {"end_session_endpoint": f"{world.provider.issuer}/logout?x=1"}
    world.restart()
    kept = dict(browser.jar)
    page = browser.ask("/sign-out", form={})
    assert (page.status, browser.jar) == (200, {})
    (there,) = re.findall(r'href="([^"]*logout[^"]*)"', page.body.decode())
    query = parse_qs(urlsplit(there.replace("&amp;", "&")).query)
    assert query == {"x": ["1"], "client_id": [CLIENT_ID], "post_logout_redirect_uri": [CONSOLE]}
    browser.jar = kept
    assert not browser.is_in()
    (entry,) = world.place.accesses.newest(limit=1)
    assert entry.what == "signed-out"


@pytest.mark.parametrize(
    ("claims", "settings", "seconds"),
    [
        ({"session_expiry": int(NOW) + 90}, {}, 90),
        ({"session_expiry": int(NOW) + 7_200}, {}, 3_600),
        ({"auth_time": int(NOW) - 240}, {"max_age_minutes": 5}, 60 + SKEW_SECONDS),
        ({"auth_time": int(NOW) - 240, "session_expiry": int(NOW) + 30}, {"max_age_minutes": 5}, 30),
        # Until when the token may be used to sign in says nothing about the session.
        ({"exp": int(NOW) + 60}, {}, 3_600),
    ],
)
def test_a_session_ends_no_later_than_the_provider_says(
    world: World, claims: dict[str, Any], settings: dict[str, Any], seconds: int
) -> None:
    """The cookie goes with it."""
    world.restart(**settings)
    world.provider.claims = claims
    browser = Browser(world)
    answer = browser.sign_in()
    assert any(f"; Max-Age={seconds};" in each for each in answer.all("set-cookie"))
    world.place.now = NOW + seconds - 1
    assert browser.is_in()
    world.place.now = NOW + seconds
    assert not browser.is_in()


@pytest.mark.parametrize(
    ("end", "why"),
    [
        (int(NOW), "session_expiry"),
        ("soon", "session_expiry"),
        (None, ""),
        (True, "session_expiry"),
        (-1, "it has no"),
    ],
)
def test_a_session_that_is_over_begins_none(
    world: World, end: Any, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor one whose end is not understood. Without one there is none of the provider's."""
    world.provider.claims = {"session_expiry": end}
    if end is None:
        assert Browser(world).sign_in().status == 200
        return
    with caplog.at_level(logging.WARNING, "consent"):
        not_in(world)
    assert why in caplog.text


# ---- signed out by the provider


def told(world: World, token: str | None = None, type: str | None = "logout+jwt", **claims: Any) -> Answer:
    """Let the provider tell that a session has ended; return what it is answered."""
    form = {"logout_token": world.provider.logout_token(type, **claims) if token is None else token}
    return world.place.ask(
        f"{HOME}/sign-out/provider",
        method="POST",
        headers={"content-type": "application/x-www-form-urlencoded"},
        body=urlencode(form).encode(),
    )


def test_the_provider_ends_a_session(world: World) -> None:
    """That one, wherever its cookie is, and no other of the same person or of others; it is recorded."""
    world.provider.claims = {"sid": "one"}
    one = Browser(world)
    one.sign_in()
    world.provider.claims = {"sid": "two"}
    two = Browser(world)
    two.sign_in()
    world.provider.claims = {"sub": "al-2", "sid": "three"}
    other = Browser(world)
    other.sign_in()
    answer = told(world, sid="one", sub=None)
    assert (answer.status, answer.body, answer.headers["cache-control"]) == (200, b"", "no-store")
    assert [each.is_in() for each in (one, two, other)] == [False, True, True]
    (entry,) = world.place.accesses.newest(limit=1)
    assert (entry.what, entry.who) == ("signed-out", f"Jo Example (jo-1 at {world.provider.issuer})")
    assert (entry.details["by"], entry.details["sessions"]) == ("the provider", 1)
    assert told(world, sid="two", sub="al-2").status == 200  # it is not that one's
    assert [each.is_in() for each in (one, two, other)] == [False, True, True]
    assert told(world, sid="two").status == 200
    assert [each.is_in() for each in (one, two, other)] == [False, False, True]
    before = world.place.accesses.newest(limit=1)
    assert told(world, sid="none", sub=None).status == 200
    assert world.place.accesses.newest(limit=1) == before  # nobody was signed out


def test_the_provider_ends_all_sessions_of_somebody(world: World) -> None:
    """Those without a name of the provider's, too; and whoever signs in again is in."""
    browsers = []
    for sid in ("one", None, "two"):
        world.provider.claims = {"sid": sid}
        browsers.append(Browser(world))
        browsers[-1].sign_in()
    world.provider.claims = {"sub": "al-2"}
    other = Browser(world)
    other.sign_in()
    assert told(world, sid="one").status == 200  # the one without a name may be that one
    assert [each.is_in() for each in browsers] == [False, False, True]
    assert told(world).status == 200
    assert [each.is_in() for each in (*browsers, other)] == [False, False, False, True]
    (entry,) = world.place.accesses.newest(limit=1)
    assert entry.details["sessions"] == 1
    world.provider.claims = {}
    assert Browser(world).sign_in().status == 200


@pytest.mark.parametrize(
    ("sid", "logout", "ends"),
    [
        ("one", {"sid": "one", "sub": None}, True),
        ("one", {"sid": "one"}, True),
        ("one", {}, True),
        (None, {}, True),
        (None, {"sid": "one"}, True),  # it may be that one
        (None, {"sid": "one", "sub": None}, False),
        ("one", {"sid": "two"}, False),
        ("one", {"sub": "al-2"}, False),
    ],
)
def test_a_logout_overtakes_a_sign_in(
    own_world: World, monkeypatch: pytest.MonkeyPatch, sid: str | None, logout: dict[str, Any], ends: bool
) -> None:
    """What the provider ends while somebody is being let in does not begin; whoever begins anew is in."""
    world = own_world
    door = sign_in(world)
    finish = door.finish

    def overtaken(*arguments: Any) -> Any:
        known = finish(*arguments)
        world.place.now += 0.01
        assert told(world, **logout).status == 200
        return known

    world.provider.claims = {"sid": sid}
    monkeypatch.setattr(door, "finish", overtaken)
    browser = Browser(world)
    before = len(world.place.accesses.newest(limit=50))
    answer = browser.sign_in()
    assert answer.status == (403 if ends else 200)
    assert ("Begin again" in text(answer)) is ends
    assert browser.is_in() is not ends
    assert len(world.place.accesses.newest(limit=50)) == before + (not ends)
    monkeypatch.undo()
    assert browser.sign_in().status == 200
    assert browser.is_in()
    # It is not remembered for longer than a sign-in takes.
    world.place.now += MINUTES * 60 + 1
    assert told(world, sub="somebody", iat=int(world.place.now), exp=int(world.place.now) + 60).status == 200
    with world.place.database.reading() as connection:
        assert connection.execute("SELECT subject FROM ended_at_provider").fetchall() == [("somebody",)]


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"iss": "https://other.example"}, "another issuer"),
        ({"aud": "another"}, "another client"),
        ({"aud": None}, "another client"),
        ({"exp": int(NOW) - SKEW_SECONDS}, "expired"),
        ({"exp": None}, "no exp"),
        ({"iat": None}, "no iat"),
        ({"iat": int(NOW) - MAX_AGE_SECONDS - SKEW_SECONDS - 1}, "iat"),
        ({"iat": int(NOW) + SKEW_SECONDS + 1}, "iat"),
        ({"events": None}, "events"),
        ({"events": {}}, "events"),
        ({"events": [EVENT]}, "events"),
        ({"events": {EVENT: None}}, "events"),
        ({"events": {"http://schemas.openid.net/event/other": {}}}, "events"),
        ({"nonce": "x"}, "nonce"),
        ({"jti": None}, "jti"),
        ({"jti": ""}, "jti"),
        ({"jti": 7}, "jti"),
        ({"jti": "x" * 256}, "jti"),
        ({"sub": None}, "sub, sid"),
        ({"sub": 7, "sid": "one"}, "sub, sid"),
        ({"sub": "jo-1", "sid": ["one"]}, "sub, sid"),
        ({"sid": "x" * 256}, "sub, sid"),
    ],
)
def test_logout_tokens_that_prove_nothing(
    world: World, claims: dict[str, Any], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each of what the specification's 2.6 asks: nobody is signed out, and the log says why."""
    browser = Browser(world)
    world.provider.claims = {"sid": "one"}
    browser.sign_in()
    with caplog.at_level(logging.WARNING, "consent"):
        answer = told(world, **claims)
    assert (answer.status, answer.json["error"]) == (400, "invalid_request")
    assert (answer.headers["content-type"], answer.headers["cache-control"]) == (
        "application/json",
        "no-store",
    )
    assert browser.is_in()
    assert why in caplog.text
    assert "jo-1" not in caplog.text


def test_logout_tokens_that_nobody_signed(world: World) -> None:
    """Or that are tokens of another kind: an ID token signs nobody out, and a logout token signs nobody in."""
    browser = Browser(world)
    browser.sign_in()
    claims = world.provider.logout_claims()
    for forged in (
        unsigned(claims), unsigned(claims, "RS256"), with_public_key(claims), _tampered(claims), _of_another(claims),
        _with_its_own_key(claims), _with_crit(claims), "", "x", "a.b.c", "x" * 15_000,
        world.provider.token({"nonce": "x"}), world.provider.logout_token("at+jwt"), world.provider.logout_token(7),
    ):  # fmt: skip
        assert told(world, forged).status == 400, forged[:80]
        # So that it is not too often.
        world.place.app._console._door._attempts._failed.clear()
    assert browser.is_in()
    world.provider.forge = lambda _: world.provider.logout_token()
    not_in(world)
    world.provider.forge = None
    for type in ("logout+jwt", "application/logout+jwt", "JWT", None):
        assert told(world, type=type).status == 200
    assert not browser.is_in()


def test_a_logout_token_counts_once(world: World) -> None:
    """Sent again, it would sign out who signed in after it. It is forgotten when it is too old to be believed."""
    token = world.provider.logout_token()
    browser = Browser(world)
    browser.sign_in()
    assert told(world, token).status == 200
    browser.sign_in()
    assert told(world, token).status == 400
    assert browser.is_in()

    def remembered() -> int:
        with world.place.database.reading() as connection:
            query = "SELECT count(*) FROM ended_session WHERE id LIKE 'logout-%' AND until_s >= ?"
            return int(connection.execute(query, (int(world.place.now),)).fetchone()[0])

    assert remembered() > 0
    world.place.now = NOW + MAX_AGE_SECONDS + SKEW_SECONDS + 1
    assert told(world, token).status == 400  # it is not of now
    world.place.now = NOW + MAX_AGE_SECONDS + 2 * SKEW_SECONDS + 1
    assert remembered() == 0
    # However late it says that it expires.
    assert told(world, exp=int(world.place.now) + 10**9).status == 200
    world.place.now += MAX_AGE_SECONDS + 2 * SKEW_SECONDS + 1
    assert remembered() == 0


def test_logouts_that_fail_are_bounded(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """After twenty from a network the answer is 429; a right one counts all the same, and nobody waits at the door."""
    browser = Browser(world)
    browser.sign_in()
    with caplog.at_level(logging.WARNING, "consent"):
        answers = [told(world, "x").status for _ in range(25)]
    assert answers == [400] * 20 + [429] * 5
    assert caplog.text.count("logout ended nothing") == 20
    found = sign_in(world)
    for _ in range(AT_ONCE):
        found._ending.acquire()
    assert told(world).status == 429
    assert Browser(world).sign_in().status == 200
    for _ in range(AT_ONCE):
        found._ending.release()
    assert told(world).status == 200
    assert not browser.is_in()


def test_only_the_provider_comes_from_elsewhere(world: World) -> None:
    """Its one address takes a form from anywhere; without a provider there is none."""

    def post(path: str, **headers: str) -> int:
        sent = {"content-type": "application/x-www-form-urlencoded", **headers}
        return world.place.ask(HOME + path, method="POST", headers=sent, body=b"logout_token=x").status

    cross = {"origin": "https://elsewhere.example", "sec-fetch-site": "cross-site"}
    assert post("/sign-out/provider", **cross) == 400
    assert post("/sign-out", **cross) == 403
    assert post("/sign-out/provider/x", **cross) == 403
    assert world.place.ask(f"{HOME}/sign-out/provider").status == 401
    assert post("/sign-out/provider", **{"content-type": "application/json"}) == 415
    world.without_provider()
    assert post("/sign-out/provider", **cross) == 403


def test_calls_are_counted_by_person(world: World) -> None:
    """Over all their sessions, as those of a token."""
    world.provider.claims = {"sub": "busy"}
    one, other = Browser(world), Browser(world)
    one.sign_in()
    other.sign_in()
    signed_in = SignedInBook(world.place.database, world.settings(), lambda: NOW).all()
    person = next(each for each in signed_in if each.subject == "busy")
    assert person.id == person_id(world.provider.issuer, "busy")
    world.place.limits.count(person, weight=CALLS_A_DAY - 1)
    assert one.ask().status == 200
    assert other.ask().status == 429


def test_who_is_signed_in_is_listed_and_sent_away(world: World) -> None:
    """On the command line, where the site runs."""
    world.place.now = time.time()
    world.provider.claims = {"sub": "jo-2"}
    browser = Browser(world)
    browser.sign_in()
    folder = str(world.place.folder.path)
    person = person_id(world.provider.issuer, "jo-2")
    lines = CliRunner().invoke(main, ["office", "sessions", "--data", folder, "--json"]).stdout.splitlines()
    (found,) = [each for each in map(json.loads, lines) if each["id"] == person]
    assert (found["name"], found["role"], found["subject"]) == ("Jo Example", "officer", "jo-2")
    shown = CliRunner().invoke(main, ["office", "sessions", "--data", folder]).stdout
    assert f"{person}  until " in shown
    assert "jo-2 at http" in shown
    assert browser.is_in()
    assert CliRunner().invoke(main, ["office", "revoke", person, "--data", folder]).stdout == "revoked\n"
    assert not browser.is_in()
    assert CliRunner().invoke(main, ["office", "revoke", person, "--data", folder]).exit_code == 1
    assert world.place.accesses.newest(limit=1)[0].what == "sessions-revoked"


# ---- what is not an answer to this sign-in


def test_an_answer_belongs_to_one_browser_and_is_taken_once(world: World) -> None:
    """Otherwise somebody could be signed in as somebody else, or a copied address would sign in again."""
    jo, al = Browser(world), Browser(world)
    query = world.provider.let_in(jo.begin())
    assert al.back(query).status == 400  # never began
    al.begin()
    assert al.back(query).status == 400  # began another one
    asked = len(world.provider.forms)
    cookie = jo.jar[f"__Host-{COOKIE}"]
    assert jo.back(query).status == 200
    jo.jar = {f"__Host-{COOKIE}": cookie}
    answer = jo.back(query)
    assert (answer.status, "finished before" in text(answer)) == (400, True)
    assert len(world.provider.forms) == asked + 1  # the provider is not asked about the others at all


@pytest.mark.parametrize(
    "changed",
    [
        {"state": "x"}, {"state": ""}, {"iss": "https://other.example"}, {"iss": ""}, {"code": ""},
        {"code": "x" * 5_000}, {"more": "x" * 9_000},
    ],
)  # fmt: skip
def test_an_answer_that_is_mixed_up(world: World, changed: dict[str, str]) -> None:
    """Of another sign-in, of another provider (RFC 9207), or none: no code is sent anywhere."""
    browser = Browser(world)
    answer = browser.sign_in(**changed)
    assert (answer.status, "Begin again" in text(answer), browser.is_in()) == (400, True, False)
    assert world.provider.forms == []


def test_an_answer_that_says_something_twice(world: World) -> None:
    """One of the two would be checked, and the other used."""
    browser = Browser(world)
    query = world.provider.let_in(browser.begin())
    assert browser.back(f"{query}&code=other").status == 400
    assert browser.back(f"{query}&x=%ff").status == 400
    assert browser.back(query).status == 200


def test_a_sign_in_has_its_time(world: World) -> None:
    """Whoever comes back later begins again; a cookie of a sign-in that was altered is none."""
    browser = Browser(world)
    query = world.provider.let_in(browser.begin())
    world.place.now = NOW + MINUTES * 60
    assert browser.back(query).status == 400
    world.place.now = NOW
    kept = browser.jar[f"__Host-{COOKIE}"]
    browser.jar[f"__Host-{COOKIE}"] = kept[:9] + ("A" if kept[9] != "A" else "B") + kept[10:]
    assert browser.back(query).status == 400
    browser.jar = {COOKIE: kept}  # another host of the domain could have set this one
    assert browser.back(query).status == 400
    browser.jar = {f"__Host-{COOKIE}": kept}
    assert browser.back(query).status == 200


def test_a_session_is_always_a_new_one(world: World) -> None:
    """What a browser had before is not what it is signed in by afterwards."""
    browser = Browser(world)
    browser.sign_in()
    first = browser.jar["__Host-consent-office"]
    browser.sign_in()
    assert browser.jar["__Host-consent-office"] != first
    browser.jar = {"consent-office": first}
    assert not browser.is_in()


def test_the_provider_says_no(world: World) -> None:
    """Nothing of what it says is shown."""
    browser = Browser(world)
    answer = browser.sign_in(error="access_denied", error_description="<b>call 555-0100</b>")
    assert (answer.status, "555" in text(answer), "let nobody in" in text(answer)) == (403, False, True)
    assert world.provider.forms == []


# ---- ID tokens that prove nothing


def not_in(world: World) -> None:
    browser = Browser(world)
    answer = browser.sign_in()
    assert (answer.status, "does not prove who you are" in text(answer)) == (502, True)
    assert not browser.is_in()


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"iss": "https://other.example"}, "another issuer"),
        ({"iss": None}, "another issuer"),
        ({"aud": "another"}, "for another client"),
        ({"aud": None}, "for another client"),
        ({"aud": ["another"]}, "for another client"),
        ({"aud": [CLIENT_ID, "another"]}, "azp"),
        ({"azp": "another"}, "azp"),
        ({"aud": [CLIENT_ID, "another"], "azp": "another"}, "azp"),
        ({"exp": int(NOW) - SKEW_SECONDS}, "expired"),
        ({"exp": None}, "no exp"),
        ({"exp": "soon"}, "no exp"),
        ({"exp": True}, "no exp"),
        ({"exp": 10**400}, "no exp"),
        ({"iat": int(NOW) + SKEW_SECONDS + 1}, "iat"),
        ({"iat": int(NOW) - MAX_AGE_SECONDS - SKEW_SECONDS - 1}, "iat"),
        ({"iat": None}, "no iat"),
        ({"nbf": int(NOW) + SKEW_SECONDS + 1}, "nbf"),
        ({"nonce": "x"}, "nonce"),
        ({"nonce": None}, "nonce"),
        ({"nonce": ["x"]}, "nonce"),
        ({"sub": None}, "sub"),
        ({"sub": ""}, "sub"),
        ({"sub": 7}, "sub"),
        ({"sub": "x" * 256}, "sub"),
        ({"sub": "a\nb"}, "sub"),
    ],
)
def test_claims_that_prove_nothing(
    world: World, claims: dict[str, Any], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Of another issuer, for another client, of another time, of another sign-in, or about nobody."""
    world.provider.claims = claims
    with caplog.at_level(logging.WARNING, "consent"):
        not_in(world)
    assert why in caplog.text
    assert "jo-1" not in caplog.text


def test_claims_that_are_right_at_the_edge(world: World) -> None:
    """Within the skew, and for several clients with this one named."""
    world.provider.claims = {
        "exp": int(NOW) - SKEW_SECONDS + 1,
        "iat": int(NOW) - MAX_AGE_SECONDS,
        "nbf": int(NOW) + SKEW_SECONDS,
        "aud": ["another", CLIENT_ID],
        "azp": CLIENT_ID,
    }
    assert Browser(world).sign_in().status == 200


def test_how_long_ago_somebody_proved_who_they_are(world: World) -> None:
    """Asked for, and checked: a provider that does not say has not heard the question."""
    world.restart(max_age_minutes=5)
    browser = Browser(world)
    assert parse_qs(urlsplit(browser.begin()).query)["max_age"] == ["300"]
    assert browser.sign_in().status == 200
    for auth_time in (None, int(NOW) - 361, int(NOW) + 61, "now"):
        world.provider.claims = {"auth_time": auth_time}
        not_in(world)


def _tampered(claims: dict[str, Any]) -> str:
    from joserfc import jwt

    whole = jwt.encode({"alg": "RS256", "kid": "rsa-0"}, claims, KEYS[0])
    other = jwt.encode({"alg": "RS256", "kid": "rsa-0"}, {**claims, "groups": ["x"]}, KEYS[0])
    return ".".join([*whole.split(".")[:2], other.split(".")[2]])


def _of_another(claims: dict[str, Any]) -> str:
    from joserfc import jwt

    return jwt.encode({"alg": "RS256", "kid": "rsa-0"}, claims, KEYS[1])


def _with_its_own_key(claims: dict[str, Any]) -> str:
    from joserfc import jwt

    key = ECKey.generate_key("P-256", private=True)
    return jwt.encode({"alg": "ES256", "jwk": key.as_dict(private=False)}, claims, key)


def _with_crit(claims: dict[str, Any]) -> str:
    from joserfc import jwt

    return jwt.encode({"alg": "RS256", "kid": "rsa-0", "crit": ["kid"]}, claims, KEYS[0])


@pytest.mark.parametrize(
    ("forge", "why"),
    [
        (unsigned, "alg"),
        (lambda claims: unsigned(claims, "None"), "alg"),
        (lambda claims: unsigned(claims, "RS256"), "no key"),
        (with_public_key, "alg"),
        (_tampered, "no key"),
        (_of_another, "no key"),
        (_with_its_own_key, "no key"),
        (_with_crit, "header"),
        (lambda claims: "x", "cannot be read"),
        (lambda claims: "a.b.c", "cannot be read"),
        (lambda claims: "é.b.c", "cannot be read"),
        (lambda claims: "x" * 40_000, "too long"),
        (lambda claims: ".".join(["W10", "e30", "x"]), "cannot be read"),
    ],
)
def test_tokens_that_nobody_signed(
    world: World, forge: Forge, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Unsigned, "signed" with what is public, altered, of another key, or of a key that it brings along."""
    world.provider.forge = forge
    with caplog.at_level(logging.WARNING, "consent"):
        not_in(world)
    assert why in caplog.text


def test_algorithms_are_pinned(world: World) -> None:
    """A key of another kind serves where it is allowed, and nowhere else."""
    world.provider.key, world.provider.algorithm = CURVE, "ES256"
    assert Browser(world).sign_in().status == 200
    world.restart(algorithms=("RS256",))
    not_in(world)
    world.restart()
    # What the key is for, by the provider's own account.
    world.provider.jwks = {"keys": [{**CURVE.as_dict(private=False), "alg": "ES384"}]}
    world.restart()
    not_in(world)


def test_keys_are_rotated(world: World) -> None:
    """A key that is not known is asked for, but not at every token; one that is withdrawn is forgotten in time."""
    now = 1_000.0
    world.restart()
    sign_in(world)._provider._clock = lambda: now
    assert Browser(world).sign_in().status == 200
    world.provider.key = KEYS[1]
    world.provider.jwks = {"keys": [KEYS[1].as_dict(private=False)]}
    not_in(world)  # asked a moment ago
    now += AGAIN_SECONDS
    assert Browser(world).sign_in().status == 200
    times = world.provider.asked.count("/realm/keys")
    for _ in range(3):
        world.provider.forge = _of_another_kid
        not_in(world)
    assert world.provider.asked.count("/realm/keys") == times
    world.provider.forge = None
    assert Browser(world).sign_in().status == 200
    now += KEPT_SECONDS
    assert Browser(world).sign_in().status == 200
    assert world.provider.asked.count("/realm/keys") == times + 1


def _of_another_kid(claims: dict[str, Any]) -> str:
    from joserfc import jwt

    return jwt.encode({"alg": "RS256", "kid": "unknown"}, claims, KEYS[0])


def test_only_keys_that_can_sign_are_taken() -> None:
    """Symmetric, private, weak ones, those for encryption and nonsense are passed over; so is what is too much."""
    good = KEYS[0].as_dict(private=False)
    assert [each.kid for each in signing_keys({"keys": [good]})] == ["rsa-0"]
    bad: list[Any] = [
        {"kty": "oct", "k": "eHh4"}, KEYS[0].as_dict(private=True), {**good, "use": "enc"}, SMALL, {**good, "n": "!"},
        {**good, "n": 7}, {**good, "kid": 7}, {**good, "e": None}, {"kty": "EC", "crv": "P-256", "x": "x", "y": "y"},
        {"kty": "EC", "crv": "secp256k1"}, {"kty": ["RSA"]}, {}, 7, None, {**good, "n": good["n"] * 5},
    ]  # fmt: skip
    assert signing_keys({"keys": bad}) == []
    assert len(signing_keys({"keys": [good] * (MAX_KEYS + 5)})) == MAX_KEYS
    for nothing in ({}, {"keys": None}, {"keys": {"a": good}}):
        assert signing_keys(nothing) == []


# ---- a provider that is down, or mistaken


def failing(world: World) -> str:
    world.restart()
    browser = Browser(world)
    answer = browser.ask("/sign-in/provider")
    if answer.status == 303:
        answer = browser.back(world.provider.let_in(answer.headers["location"]))
    assert (answer.status, "cannot be asked now" in text(answer)) == (503, True), text(answer)
    assert "Sign in with Example accounts" in text(answer)  # and the token's form is there, too
    assert 'name="token"' in answer.body.decode()
    assert not browser.is_in()
    return text(answer)


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (lambda it: setattr(it, "status", 500), "answered 500"),
        (lambda it: setattr(it, "status", 302), "answered 302"),
        (lambda it: setattr(it, "raw", b"[1]"), "no JSON object"),
        (lambda it: setattr(it, "raw", b"[" * 100_000), "no JSON object"),
        (lambda it: setattr(it, "raw", b" " * (MAX_ANSWER_BYTES + 1)), "more than"),
        (lambda it: it.headers.append((b"content-encoding", b"gzip")), "coding that was not asked for"),
        (lambda it: it.metadata.update(issuer="https://other.example"), "not that of"),
        (lambda it: it.metadata.update(token_endpoint="http://other.example/"), "no token_endpoint"),
        (lambda it: it.metadata.update(authorization_endpoint="javascript:x"), "no authorization_endpoint"),
        (lambda it: it.metadata.update(jwks_uri="file:///etc/passwd"), "no jwks_uri"),
        (lambda it: it.metadata.update(jwks_uri=7), "no jwks_uri"),
        (lambda it: it.metadata.update(end_session_endpoint="ftp://x"), "no end_session_endpoint"),
        (lambda it: it.metadata.update(code_challenge_methods_supported=["plain"]), "PKCE"),
        (lambda it: it.metadata.update(token_endpoint="https://127.0.0.1:1/"), "cannot be reached"),
        (lambda it: setattr(it, "forge", lambda claims: 7), "no ID token"),
    ],
)
def test_a_provider_that_fails(
    world: World, broken: Callable[[HostileProvider], object], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody is let in, the page says what to do, the log says what is wrong, and neither has a secret in it."""
    broken(world.provider)
    with caplog.at_level(logging.WARNING, "consent"):
        failing(world)
    assert why in caplog.text
    assert CLIENT_SECRET not in caplog.text
    assert "code-" not in caplog.text


def test_huge_key_sets_are_not_read(world: World) -> None:
    """However many keys there are."""
    world.provider.jwks = {"keys": [KEYS[0].as_dict(private=False)] * 1_000}
    failing(world)


def test_a_provider_that_is_down_is_not_asked_by_everybody(world: World) -> None:
    """It failed a moment ago: who comes now is told at once."""
    now = 0.0
    provider = Provider(world.settings(), lambda: now)
    world.provider.status = 503
    for _ in range(5):
        with pytest.raises(ProviderFailed, match="answered 503"):
            provider.metadata()
    assert len(world.provider.asked) == 1
    world.provider.status = 200
    now += AGAIN_SECONDS
    assert provider.metadata().token_endpoint == f"{world.provider.issuer}/token"
    now += KEPT_SECONDS - 1
    provider.metadata()
    assert len(world.provider.asked) == 2


def test_only_a_few_wait_for_the_provider(world: World) -> None:
    """More would take the threads that answer visitors."""
    for _ in range(AT_ONCE):
        sign_in(world)._waiting.acquire()
    answer = Browser(world).ask("/sign-in/provider")
    assert (answer.status, "Too many are signing in" in text(answer)) == (503, True)


def test_where_the_clients_secret_goes(world: World) -> None:
    """Into the field for it, encoded; into the body where the provider takes no other; nowhere where there is none."""
    assert Browser(world).sign_in().status == 200
    assert "client_secret" not in world.provider.forms[-1]
    world.provider.metadata = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    world.restart()
    assert Browser(world).sign_in().status == 200
    assert world.provider.forms[-1]["client_secret"] == CLIENT_SECRET
    world.restart(client_secret="")
    assert Browser(world).sign_in().status == 503
    assert "client_secret" not in world.provider.forms[-1]
    assert CLIENT_SECRET not in repr(world.settings())


# ---- floods and other sites


def test_failing_again_and_again(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Is answered with 429 after a while, and not written down each time; whoever is right still comes in."""
    browser = Browser(world)
    with caplog.at_level(logging.WARNING, "consent"):
        answers = [browser.ask("/sign-in", form={"token": "x"}).status for _ in range(25)]
    assert answers == [401] * 20 + [429] * 5
    assert caplog.text.count("a token that is not valid") == 20
    assert browser.back("state=x").status == 429
    assert world.place.ask("/me", "cot_wrong").headers["retry-after"] == "600"
    assert browser.sign_in().status == 200
    assert world.place.ask("/me", Role.READER, headers=REASON).status == 200
    world.place.now = NOW + 600
    assert browser.ask("/sign-in", form={"token": "x"}).status == 401


def test_without_a_provider_there_is_no_such_address(world: World) -> None:
    """The sign-in page is what it was, and sessions that came from one are over."""
    browser = Browser(world)
    browser.sign_in()
    world.without_provider()
    assert browser.ask("/sign-in/provider").status == 401
    assert browser.ask("/sign-in/return?code=x").status == 401
    assert not browser.is_in()


# ---- the file


FILE = """
issuer = "https://accounts.example.com/realm"
client_id = "consent-office"
console = "https://shop.example/_consent/office/"
client_secret_file = "secret"
scopes = ["groups"]
session_minutes = 30

[[grant]]
claim = "groups"
value = "privacy"
role = "officer"
sites = ["Shop B", "Shop A"]
"""


def test_the_file_says_all(tmp_path: Path) -> None:
    """What it leaves out has a default; the secret is in a file beside it, or in the environment."""
    (tmp_path / "secret").write_text("hush\n")
    (tmp_path / "oidc.toml").write_text(FILE)
    settings = load_oidc(tmp_path / "oidc.toml", {})
    assert settings == OidcSettings(
        issuer="https://accounts.example.com/realm",
        client_id="consent-office",
        console="https://shop.example/_consent/office",
        grants=(Grant("groups", "privacy", Role.OFFICER, ("Shop A", "Shop B")),),
        client_secret="hush",
        name="accounts.example.com",
        scopes=("openid", "groups"),
        session_minutes=30,
    )
    (tmp_path / "oidc.toml").write_text(FILE.replace('client_secret_file = "secret"', ""))
    assert load_oidc(tmp_path / "oidc.toml", {SECRET_VARIABLE: "env"}).client_secret == "env"
    assert load_oidc(tmp_path / "oidc.toml", {}).client_secret == ""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("https://accounts", "http://accounts", "must be an address that begins with https://"),
        ("/realm", "/realm?x=1", "no query"),
        ("https://accounts.example.com/realm", "https://jo:pw@accounts.example.com", "must be an address"),
        ("client_id", "client", 'unknown key: did you mean "client_id"'),
        ('console = "https://shop.example/_consent/office/"', "", "is missing: sign-in"),
        ('"officer"', '"chief"', "must be one of"),
        ('value = "privacy"', "", "value is missing"),
        ('claim = "groups"', 'claims = "groups"', "unknown key"),
        ("session_minutes = 30", "session_minutes = 241", "from 1 to 240"),
        ("session_minutes = 30", "session_minutes = true", "whole number"),
        ("session_minutes = 30", 'algorithms = ["HS256"]', "others do not prove who signed"),
        ("session_minutes = 30", 'algorithms = ["none"]', "others do not prove who signed"),
        ("session_minutes = 30", "algorithms = []", "must be some of"),
        ('["groups"]', '["a b"]', "cannot be a scope"),
        ('"secret"', '"nowhere"', "it has to hold the client's secret"),
        ("[[grant]]", "[grant]", "must be tables"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    """With its place; the office does not start without."""
    (tmp_path / "secret").write_text("hush\n")
    (tmp_path / "oidc.toml").write_text(FILE.replace(old, new, 1))
    with pytest.raises(ConfigurationError, match=re.escape(message)) as caught:
        load_oidc(tmp_path / "oidc.toml", {})
    assert "hush" not in str(caught.value)


def test_nobody_is_granted_anything_by_default(tmp_path: Path) -> None:
    """A file without grants is refused, and so is a secret that cannot be one."""
    (tmp_path / "oidc.toml").write_text(FILE.partition("[[grant]]")[0])
    (tmp_path / "secret").write_text("hush\n")
    with pytest.raises(ConfigurationError, match="nobody could come in"):
        load_oidc(tmp_path / "oidc.toml", {})
    for secret in (b"two\nlines", b"\xff", b"x" * 2_000):
        (tmp_path / "secret").write_bytes(secret)
        (tmp_path / "oidc.toml").write_text(FILE)
        with pytest.raises(ConfigurationError, match="printable ASCII"):
            load_oidc(tmp_path / "oidc.toml", {})


def test_a_middleware_is_told_by_its_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``CONSENT_OIDC`` names the file; what is wrong in it stops the start."""
    from consent.mount import ConsentMiddleware
    from tests.exchange import endpoints as nothing_else

    monkeypatch.setenv("CONSENT_OIDC", str(tmp_path / "oidc.toml"))
    with pytest.raises(ConfigurationError, match=r"oidc\.toml"):
        ConsentMiddleware(nothing_else, data=tmp_path / "data")
    (tmp_path / "oidc.toml").write_text(FILE.replace('client_secret_file = "secret"', ""))
    ConsentMiddleware(nothing_else, data=tmp_path / "data")
