"""Policies in the office: which there were, what differs, who answered under them, and what is to be asked again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from consent.browsers import Device
from consent.catalog import load_catalog
from consent.categories import Category
from consent.decision import Reason, decide
from consent.enforcement_log import EnforcementKind
from consent.inventory import Sighting, Source, Tally
from consent.moments import format_moment
from consent.office.app import Office
from consent.office.in_force import InForce
from consent.office.policy_effects import decided
from consent.office.roles import Role
from consent.policy import Policy, Regime, Whereabouts
from consent.receipt_search import Sought
from consent.receipts import Artefact, Outcome, Receipt
from consent.signals import Signals
from consent.sqlite_inventory import SQLiteInventory
from consent.sqlite_log import SQLiteReceiptLog
from consent.sqlite_store import SQLiteStore
from consent.terms import terms_artefacts
from tests.test_office_api import NOW, Answer, Place
from tests.test_office_console import signed_in, text
from tests.test_receipts import SHOWN, make_receipt

VENDORS = load_catalog().vendors
SITE = "Policy shop"
FIRST = Policy(site=SITE, contact="old@example.com", choice_days=30, vendors=(VENDORS["hotjar"],))
SAME = replace(FIRST, contact="new@example.com")
SECOND = replace(SAME, vendors=(VENDORS["hotjar"], VENDORS["youtube"]), regime=Regime.OPT_OUT)
DAY_MS = 86_400_000
TODAY_MS = int(NOW * 1_000) // DAY_MS * DAY_MS


def day(days_ago: int) -> str:
    return format_moment(TODAY_MS - days_ago * DAY_MS)[:10]


def choice(number: int, subject: int, days_ago: int, policy: Policy, *, yes: bool, **changes: Any) -> Receipt:
    named = terms_artefacts(policy)
    return make_receipt(
        number,
        subject=f"{subject + 100:032x}",
        time=format_moment(TODAY_MS - days_ago * DAY_MS + number),
        site=policy.site,
        regime=policy.regime,
        policy_version=policy.version,
        policy_hash=named.policy.hash,
        vendor_list_hash=named.vendor_list.hash,
        shown_hash=SHOWN.hash,
        categories=dict.fromkeys(list(Category)[1:], yes),
        **{"outcome": Outcome.GIVEN if yes else Outcome.REFUSED, **changes},
    )


CHOICES = [
    # Visitor 1 says yes twice, visitor 2 takes it back, visitor 3 says yes and is left alone, 4 says no.
    choice(101, 1, 28, FIRST, yes=True),
    choice(102, 2, 28, FIRST, yes=True),
    choice(103, 3, 27, FIRST, yes=True),
    choice(104, 4, 27, FIRST, yes=False),
    choice(105, 1, 20, SAME, yes=True),
    choice(106, 2, 20, SAME, yes=False, outcome=Outcome.WITHDRAWN),
    choice(107, 5, 20, SAME, yes=True, device=Device.BOT),
    choice(108, 6, 1, SECOND, yes=True),
    # Before terms were named, and long ended.
    replace(choice(109, 7, 90, FIRST, yes=True), policy_hash=None, vendor_list_hash=None),
]


def artefacts(receipt: Receipt) -> list[Artefact]:
    named = [each for policy in (FIRST, SAME, SECOND) for each in _both(policy)]
    return [SHOWN, *(each for each in named if each.hash in receipt.artefact_hashes)]


def _both(policy: Policy) -> tuple[Artefact, Artefact]:
    named = terms_artefacts(policy)
    return named.policy, named.vendor_list


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("policies") / "data")

    async def fill() -> None:
        store = SQLiteStore(place.folder.receipts_path, place.keys, clock=lambda: NOW)
        for receipt in CHOICES:
            await store.append(receipt, artefacts(receipt))
        kind = EnforcementKind(
            day(3), SITE, "script", "youtube", "functional", "stripped", "no-choice", FIRST.version
        )
        counts = {
            kind: 40,
            kind._replace(vendor="hotjar", category="performance", action="allowed", reason="granted"): 9,
            kind._replace(site="Example shop"): 1_000,
        }
        await asyncio.to_thread(store.count, counts)
        await store.aclose()

    asyncio.run(fill())
    SQLiteInventory(place.folder.inventory_path).merge(
        {
            Sighting(Source.RESPONSE, "iframe", "www.youtube.com", "youtube", site=SITE): Tally(
                1, 2, 5, ["/film"]
            ),
            Sighting(Source.RESPONSE, "iframe", "www.youtube.com", "youtube", site="Other"): Tally(
                1, 2, 70, ["/"]
            ),
        }
    )
    return place


def ask(place: Place, path: str, role: Role = Role.READER) -> Any:
    answer = place.ask(path, role)
    assert answer.status == 200, answer.body
    return answer.json


def known(place: Place) -> dict[str, Any]:
    """Return the editions of the site by what they are here."""
    rows = [row for row in ask(place, "/policies")["policies"] if row["site"] == SITE]
    hashes = {
        _both(policy)[0].hash: name for policy, name in ((FIRST, "first"), (SAME, "same"), (SECOND, "second"))
    }
    return {hashes.get(row["policy_hash"], "unnamed"): row for row in rows}


def test_editions_are_listed_with_their_days_and_choices(place: Place) -> None:
    """Two of one version are told apart; what is in force is what was recorded last, for each regime."""
    rows = known(place)
    told = ("first_day", "last_day", "choices", "present")
    assert {name: tuple(row[each] for each in told) for name, row in rows.items()} == {
        "unnamed": (day(90), day(90), 1, False),
        "first": (day(28), day(27), 4, False),
        "same": (day(20), day(20), 3, True),
        "second": (day(1), day(1), 1, True),
    }
    assert rows["first"]["version"] == rows["same"]["version"] != rows["second"]["version"]
    assert (rows["unnamed"]["name"], rows["unnamed"]["version"]) == ("", FIRST.version)


def test_one_of_them_says_what_visitors_were_told_and_answered(place: Place) -> None:
    """The terms as they are kept, and the choices that named them."""
    row = known(place)["same"]
    told = ask(place, f"/policies/{row['name']}")
    assert told["outcomes"] == {"given": 2, "withdrawn": 1}
    assert told["texts"] == [{"language": "en", "shown_hash": SHOWN.hash, "choices": 3}]
    assert told["terms"]["contact"] == "new@example.com"
    assert [vendor["id"] for vendor in told["terms"]["vendors"]] == ["hotjar"]
    found = ask(place, f"/receipts?policy_hash={row['policy_hash']}", Role.ANALYST)["receipts"]
    assert [each["outcome"] for each in found] == ["given", "withdrawn", "given"]
    assert place.ask("/policies/" + "0" * 32, Role.READER).status == 404
    secret, _ = place.book.make("Al Example", Role.READER, sites=["Example shop"], days=1)
    assert place.ask(f"/policies/{row['name']}", secret).status == 404
    assert {each["site"] for each in place.ask("/policies", secret).json["policies"]} == {"Example shop"}


def test_a_change_is_material_by_the_rule_that_asks_again(place: Place) -> None:
    """Another contact is not; another vendor is, and so is what silence means."""
    rows = known(place)
    same = ask(place, f"/policies/{rows['first']['name']}/changes/{rows['same']['name']}")
    assert (same["material"], same["changes"]) == (
        False,
        [{"material": False, "what": "contact", "before": "old@example.com", "after": "new@example.com"}],
    )
    other = ask(place, f"/policies/{rows['same']['name']}/changes/{rows['second']['name']}")
    assert (other["material"], other["unexplained"]) == (True, False)
    assert {change["what"] for change in other["changes"] if change["material"]} == {
        "regime",
        "vendor youtube",
    }
    span = f"from={day(9)}&to={day(0)}"
    effects = ask(place, f"/policies/{rows['same']['name']}/changes/{rows['second']['name']}?{span}")[
        "effects"
    ]
    assert effects["recorded"] == 49
    assert effects["decided"] == [
        {"vendor": "youtube", "reason": "no-choice", "before": "refused", "after": "allowed", "times": 40}
    ]
    assert effects["named"] == [
        {"vendor": "youtube", "declared_before": False, "declared_after": True, "times": 5}
    ]


SITUATIONS: list[tuple[Reason, Signals]] = [
    (Reason.NO_CHOICE, Signals()),
    (Reason.REGIME, Signals()),
    (Reason.GPC, Signals(gpc=True)),
    (Reason.DNT, Signals(dnt=True)),
]


@pytest.mark.parametrize("regime", [Regime.OPT_IN, Regime.OPT_OUT, Regime.NOTICE])
@pytest.mark.parametrize("children", [False, True])
def test_what_is_decided_once_more_is_what_the_site_would_decide(regime: Regime, *, children: bool) -> None:
    """Held against the function that decides requests, wherever the visitor's answer is not needed."""
    policy = Policy(regime=regime, children=children, dnt_refuses=frozenset())
    for reason, signals in SITUATIONS:
        verdicts = decide(policy, signals)
        for category in Category:
            said = decided(policy, category, category, reason)
            if not said.startswith("by the answer"):
                assert said == ("allowed" if verdicts.allows(category) else "refused"), (reason, category)
            else:
                refused = policy.gpc_refuses if reason is Reason.GPC else policy.dnt_refuses
                assert reason in (Reason.GPC, Reason.DNT)
                assert category not in refused


def test_what_an_answer_would_have_been_is_not_guessed() -> None:
    """A yes to one category says nothing of another."""
    assert decided(Policy(), "targeting", "performance", "granted") == "by the answer for targeting"
    assert decided(Policy(), "performance", "performance", "granted") == "allowed"
    assert decided(Policy(), "performance", "performance", "refused") == "refused"
    assert decided(Policy(), "strictly-necessary", "performance", "refused") == "allowed"
    assert decided(Policy(), "performance", "performance", "forged") == "refused"


def test_the_policy_of_a_day(place: Place) -> None:
    """On a day without choices, that of the last one before."""

    def then(days_ago: int) -> Any:
        rows = ask(place, f"/as-of?on={day(days_ago)}")["in_force"]
        return [(row["day"], row["policy_hash"], row["choices"]) for row in rows if row["site"] == SITE]

    assert then(28) == [(day(28), _both(FIRST)[0].hash, 2)]
    assert then(25) == [(day(27), _both(FIRST)[0].hash, 2)]
    assert then(20) == [(day(20), _both(SAME)[0].hash, 3)]
    assert then(0) == [(day(1), _both(SECOND)[0].hash, 1)]
    assert then(200) == []


def test_what_still_stands_is_counted(place: Place) -> None:
    """Also as of a day; pages add up."""
    first = f"policy_hash={_both(FIRST)[0].hash}"
    assert ask(place, f"/standing?{first}") == {
        "examined": 4, "standing": 2, "outcomes": {"given": 1, "refused": 1}, "next": None,
    }  # fmt: skip
    assert ask(place, f"/standing?{first}&to={day(21)}")["standing"] == 4
    everything = ask(place, "/standing?grants=true")
    assert (everything["examined"], everything["standing"]) == (30 + 7, 10 + 5)


def test_counts_of_what_stands_go_on_where_they_ended(place: Place) -> None:
    """In steps of any size the same comes out."""
    with SQLiteReceiptLog(place.folder.receipts_path, place.keys) as log:
        whole = log.count_standing(Sought(grants=True))
        sums, examined, before = 0, 0, None
        while True:
            some = log.count_standing(Sought(grants=True), limit=7, before=before)
            sums += sum(some.standing.values())
            examined += some.examined
            before = some.next
            if before is None:
                break
    assert (examined, sums) == (whole.examined, sum(whole.standing.values()))


def test_whose_consent_ends_soon(place: Place) -> None:
    """By the policy in force, by day, with those that stand; nobody is named, and the list says which they are."""
    rows = [row for row in ask(place, "/expiring?days=5")["expiring"] if row["site"] == SITE]
    assert rows == [
        {"day": day(-2), "site": SITE, "given_on": day(28), "granted": 2, "standing": 0},
        {"day": day(-3), "site": SITE, "given_on": day(27), "granted": 1, "standing": 1},
    ]
    page = signed_in(place, Role.ANALYST).get("/as-of?days=5").body.decode()
    link = page.split(f"receipts?site=Policy+shop&amp;grants=true&amp;from={day(27)}")[1].split('"')[0]
    query = f"site=Policy+shop&grants=true&from={day(27)}" + link.replace("&amp;", "&")
    found = ask(place, f"/receipts?{query}", Role.ANALYST)
    assert [row["leaf"] for row in found["receipts"]] == [62]


def test_who_is_to_be_asked_again(place: Place) -> None:
    """What was agreed to under another version than that in force, and has not ended."""
    assert [row for row in ask(place, "/asking-again")["asking_again"] if row["site"] == SITE] == []
    mounted = beside_the_site(place, SECOND)
    rows = mounted("/asking-again")["asking_again"]
    assert rows == [
        {
            "site": SITE,
            "policy_version": FIRST.version,
            "policy": known(place)["same"]["name"],
            "present_version": SECOND.version,
            "present_policy": known(place)["second"]["name"],
            "since": day(30),
            "granted": 5,
            "standing": 3,
        }
    ]


def beside_the_site(place: Place, policy: Policy) -> Callable[[str], Any]:
    """Return what asks an office that knows the policy in force."""
    app = Office(
        "/_consent",
        place.folder,
        lambda: SQLiteReceiptLog(place.folder.receipts_path, place.keys),
        lambda: NOW,
        in_force=InForce(policy, load_catalog()),
    )

    def asking(path: str) -> Any:
        before, place.app = place.app, app
        try:
            return ask(place, path)
        finally:
            place.app = before

    return asking


def test_a_policy_that_nobody_answered_yet_is_known_beside_the_site(place: Place) -> None:
    """With its terms, and each of the laws that may hold."""
    fresh = replace(SECOND, controller="Example Ltd")
    mounted = beside_the_site(place, fresh)
    (row,) = [row for row in mounted("/policies")["policies"] if row["present"]]
    assert (row["version"], row["first_day"], row["choices"]) == (fresh.version, "", 0)
    assert mounted(f"/policies/{row['name']}")["terms"]["controller"] == "Example Ltd"
    changed = mounted(f"/policies/{known(place)['second']['name']}/changes/{row['name']}")
    assert changed["material"] is True
    anywhere = Policy(site=SITE, jurisdictions=Whereabouts(everybody="EU"))
    present = [row for row in beside_the_site(place, anywhere)("/policies")["policies"] if row["present"]]
    assert {"opt-in", "opt-out"} <= {row["regime"] for row in present}


def test_the_pages_say_the_same(place: Place) -> None:
    """In words, with links to the receipts for who may see these."""
    rows = known(place)
    visitor = signed_in(place, Role.READER)
    listed = text(visitor.get("/policies"))
    assert f"{SECOND.version} in force" in listed
    assert "its terms are not kept" in listed
    told = visitor.get(f"/policies/{rows['same']['name']}")
    assert "Of 3 receipts that are kept, 3 still stand" in text(told)
    assert "These receipts" not in text(told)
    assert "new@example.com" in text(told)
    assert "These receipts" in text(signed_in(place, Role.ANALYST).get(f"/policies/{rows['same']['name']}"))
    changes = text(visitor.get(f"/policies/{rows['same']['name']}/changes?other={rows['second']['name']}"))
    assert "Material: visitors are asked again" in changes
    assert "vendor youtube" in changes
    assert "youtube no-choice refused allowed 40" in changes
    assert "youtube , seen 5 times: visitors would be told of it" in changes
    same = text(visitor.get(f"/policies/{rows['first']['name']}/changes?other={rows['same']['name']}"))
    assert "Not material" in same
    assert "None of them would be decided otherwise." in same
    wrong: Answer = visitor.get(f"/policies/{rows['first']['name']}/changes?other=x")
    assert (wrong.status, "There is no such policy" in text(wrong)) == (404, True)
    ahead = text(visitor.get("/as-of?days=5"))
    assert f"{day(-3)} Policy shop {day(27)} 1 1" in ahead
    assert visitor.get("/as-of?days=99").status == 400
    assert "2 of 4 receipts" in text(visitor.get(f"/standing?policy_hash={rows['first']['policy_hash']}"))
    assert datetime.fromtimestamp(NOW, UTC).date().isoformat() in text(visitor.get("/as-of"))
