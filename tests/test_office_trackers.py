"""Third parties in the office: what needs work first, what left, and saying who they are."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest

from consent.catalog import load_catalog
from consent.inventory import Sighting, Source, Tally
from consent.office.app import Office
from consent.office.in_force import InForce
from consent.office.roles import Role
from consent.policy_file import load_policy
from consent.sqlite_inventory import SQLiteInventory
from consent.sqlite_log import SQLiteReceiptLog
from tests.test_office_api import NOW, Place
from tests.test_office_console import signed_in, text

POLICY = """\
declare = ["hotjar"]

[site]
name = "Example shop"

[office]
classified = "classified.toml"
"""
SHOP, BLOG = "Example shop", "Example blog"
SEEN = {
    Sighting(Source.RESPONSE, "script", "pixel.acme.example", "", site=SHOP): Tally(
        20_454, 20_455, 30, ["/", "/shop"]
    ),
    Sighting(Source.RESPONSE, "img", "cdn.acme.example", "", site=SHOP): Tally(20_454, 20_455, 4, ["/"]),
    Sighting(Source.RESPONSE, "script", "www.youtube.com", "youtube", site=SHOP): Tally(
        20_400, 20_455, 12, ["/film"]
    ),
    Sighting(Source.RESPONSE, "script", "static.hotjar.com", "hotjar", site=SHOP): Tally(
        20_400, 20_455, 99, ["/"]
    ),
    Sighting(Source.SCRIPT, "inline script", "0123456789ab a.b", "", site=SHOP): Tally(1, 2, 900, ["/"]),
    Sighting(Source.REPORT, "img-src", "other.example", "", site=BLOG): Tally(1, 2, 3, []),
}
ACME = {
    "id": "acme-pixel",
    "name": "Acme Pixel",
    "company": 'Acme "Ads" \\ Ltd',
    "country": "GB",
    "privacy": "https://acme.example/privacy",
    "category": "targeting",
    "about": "Shows you advertisements.",
    "hosts": ["pixel.acme.example", "cdn.acme.example"],
}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An office that knows the policy file, which lets it classify."""
    place = Place(tmp_path / "data")
    place.folder.inventory_path.unlink()
    SQLiteInventory(place.folder.inventory_path).merge(SEEN)
    (tmp_path / "consent.toml").write_text(POLICY)
    mount(place, tmp_path / "consent.toml")
    return place


def mount(place: Place, policy: Path) -> None:
    place.app = Office(
        "/_consent",
        place.folder,
        lambda: SQLiteReceiptLog(place.folder.receipts_path, place.keys),
        lambda: NOW,
        in_force=InForce(*load_policy(policy, load_catalog()), policy),
    )


def ask(place: Place, path: str, role: Role = Role.READER) -> Any:
    answer = place.ask(path, role)
    assert answer.status == 200, answer.body
    return answer.json


def test_what_needs_work_comes_first_page_by_page(place: Place) -> None:
    """Unclassified, undeclared, declared; the site's own scripts last among what nobody explained."""
    rows: list[Any] = []
    cursor = ""
    while cursor is not None:
        answer = ask(place, f"/trackers?limit=2&cursor={cursor}")
        assert len(answer["trackers"]) <= 2
        rows += answer["trackers"]
        cursor = answer["next"]
    assert [(row["status"], row["subject"]) for row in rows] == [
        ("unclassified", "pixel.acme.example"),
        ("unclassified", "cdn.acme.example"),
        ("unclassified", "other.example"),
        ("unclassified", "0123456789ab a.b"),
        ("undeclared", "www.youtube.com"),
        ("declared", "static.hotjar.com"),
    ]
    assert (rows[0]["first_day"], rows[0]["last_day"], rows[0]["times"]) == ("2026-01-01", "2026-01-02", 30)
    assert (rows[4]["name"], rows[4]["category"]) == (
        "YouTube",
        load_catalog().vendors["youtube"].category,
    )


@pytest.mark.parametrize(
    ("query", "subjects"),
    [
        ("status=undeclared", ["www.youtube.com"]),
        ("source=script", ["0123456789ab a.b"]),
        ("vendor=hotjar", ["static.hotjar.com"]),
        ("subject=ACME", ["pixel.acme.example", "cdn.acme.example"]),
        ("site=Example+blog", ["other.example"]),
    ],
)
def test_they_can_be_narrowed_down(place: Place, query: str, subjects: list[str]) -> None:
    """By what is known of them."""
    assert [row["subject"] for row in ask(place, f"/trackers?{query}")["trackers"]] == subjects


def test_a_token_for_some_sites_sees_their_third_parties(place: Place) -> None:
    """And no others, wherever they are told of."""
    secret, _ = place.book.make("Al Example", Role.READER, sites=[BLOG], days=1)
    assert [row["subject"] for row in place.ask("/trackers", secret).json["trackers"]] == ["other.example"]
    assert b"acme" not in place.ask("/proposals", secret).body
    name = ask(place, "/trackers")["trackers"][0]["id"]
    visitor = signed_in(place, Role.READER)
    assert visitor.get(f"/trackers/{name}").status == 200
    visitor.sign_in(secret)
    assert visitor.get(f"/trackers/{name}").status == 404


def test_the_leak_question_has_an_answer(place: Place) -> None:
    """Zero, or the rows."""
    span = "from=2026-01-01&to=2026-01-02"
    assert ask(place, f"/leaks?category=performance&{span}") == {
        "from": "2026-01-01", "to": "2026-01-02", "leaked": 0, "rows": [],
    }  # fmt: skip
    found = ask(place, f"/leaks?category=targeting&{span}")
    assert (found["leaked"], [(row["site"], row["times"]) for row in found["rows"]]) == (
        5,
        [(SHOP, 3), (BLOG, 2)],
    )
    visitor = signed_in(place, Role.READER)
    assert "No: 0 times from 2026-01-01 to 2026-01-02 where performance was refused" in text(
        visitor.get(f"/trackers?category=performance&{span}")
    )
    assert "Yes: 5 times from 2026-01-01 to 2026-01-02" in text(
        visitor.get(f"/trackers?category=targeting&{span}")
    )
    assert place.ask("/leaks?category=strictly-necessary", Role.READER).status == 400


def test_what_the_policy_lacks_is_proposed(place: Place) -> None:
    """A file that can be read as it is, and says nothing by itself."""
    answer = place.ask("/proposals", Role.READER)
    assert answer.headers["content-disposition"] == 'attachment; filename="consent-proposals.toml"'
    assert tomllib.loads(answer.body.decode()) == {"declare": ["youtube"]}
    proposed = answer.body.decode()
    assert '# hosts = ["acme.example"]' in proposed
    assert "hotjar" not in proposed
    assert "0123456789ab" not in proposed
    assert signed_in(place, Role.READER).post("/trackers/proposal", {}).body == answer.body


def test_one_third_party_can_be_described(place: Place) -> None:
    """The table of it is downloaded, and does in a policy file."""
    answer = place.ask("/proposals", Role.READER, method="POST", body=ACME)
    assert tomllib.loads(answer.body.decode())["vendor"] == [ACME]
    known = place.ask("/proposals", Role.READER, method="POST", body={"id": "youtube"})
    assert b'declare = ["\xe2\x80\xa6", "youtube"]' in known.body
    form = {**ACME, "hosts": "pixel.acme.example, cdn.acme.example"}
    downloaded = signed_in(place, Role.READER).post("/trackers/proposal", form)  # type: ignore[arg-type]
    assert downloaded.body == answer.body
    assert downloaded.headers["content-disposition"] == 'attachment; filename="consent-acme-pixel.toml"'


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"id": "nobody"}, "id: the catalog has no such vendor"),
        ({**ACME, "id": "hotjar"}, "id: the catalog has a vendor with this id"),
        ({**ACME, "id": "Acme Pixel"}, "id: lower-case letters"),
        (
            {**ACME, "category": "marketing"},
            "category: one of strictly-necessary, performance,",
        ),
        (
            {**ACME, "privacy": "javascript:alert(1)"},
            "privacy: 'javascript:alert(1)' must be the address of a page",
        ),
        ({**ACME, "hosts": ["https://x.example/"]}, "has a path"),
        ({**ACME, "hosts": []}, "hosts: a list of 1 to 50 hosts"),
        ({**ACME, "hosts": ["a.example"] * 51}, "hosts: a list of 1 to 50 hosts"),
        ({**ACME, "hosts": ["static.hotjar.com"]}, "is Hotjar's, by the catalog"),
        ({**ACME, "about": 'x"\n[[vendor]]'}, "about: text in one line"),
        ({**ACME, "about": "\u202ex"}, "about: nothing that cannot be printed"),
        ({**ACME, "country": 7}, "country: text in one line"),
        ({**ACME, "inline": []}, "body: it may have id, name,"),
        ({key: value for key, value in ACME.items() if key != "company"}, "company: missing"),
        ({}, "id: missing"),
    ],
)
def test_what_is_no_vendor_is_refused(place: Place, said: dict[str, Any], message: str) -> None:
    """Before anything is written or downloaded."""
    classified = place.folder.path.parent / "classified.toml"
    for path in ("/proposals", "/classifications"):
        answer = place.ask(path, Role.OFFICER, method="POST", body=said)
        assert answer.status in (400, 409)
        assert message in answer.json["error"]["message"], answer.body
    assert not classified.exists()
    assert [entry.what for entry in place.accesses.newest(limit=5)] == []


def test_a_classification_is_taken_over_where_the_policy_lets_the_office(place: Place) -> None:
    """Into a file of its own, whole; the next start has it, visitors are told, and it is recorded who said so."""
    folder = place.folder.path.parent
    before, _ = load_policy(folder / "consent.toml", load_catalog())
    answer = place.ask("/classifications", Role.OFFICER, method="POST", body=ACME)
    assert (answer.status, answer.json["vendor"]) == (201, "acme-pixel")
    answer = place.ask("/classifications", Role.ADMINISTRATOR, method="POST", body={"id": "youtube"})
    assert answer.status == 201
    assert sorted(path.name for path in folder.iterdir()) == ["classified.toml", "consent.toml", "data"]
    assert (folder / "consent.toml").read_text() == POLICY
    assert stat.S_IMODE((folder / "classified.toml").stat().st_mode) & 0o022 == 0
    policy, catalog = load_policy(folder / "consent.toml", load_catalog())
    assert [vendor.id for vendor in policy.vendors] == ["hotjar", "youtube", "acme-pixel"]
    assert catalog.vendors["acme-pixel"].company == ACME["company"]
    assert policy.version != before.version
    newest = place.accesses.newest(limit=2)
    assert [(entry.what, entry.details["vendor"]) for entry in newest] == [
        ("classified", "youtube"),
        ("classified", "acme-pixel"),
    ]
    # Not before the site starts again.
    assert ask(place, "/trackers?subject=pixel.acme")["trackers"][0]["status"] == "unclassified"
    assert "in force when the site starts the next time: youtube, acme-pixel" in text(
        signed_in(place, Role.READER).get("/trackers")
    )
    mount(place, folder / "consent.toml")
    assert (
        ask(place, "/trackers?subject=pixel.acme")["trackers"][0]["status"] == "unclassified"
    )  # as it was seen
    assert {row["status"] for row in ask(place, "/trackers?vendor=youtube")["trackers"]} == {"declared"}
    assert "the next time" not in text(signed_in(place, Role.READER).get("/trackers"))


def test_the_console_takes_it_over_too(place: Place) -> None:
    """With a button that only those have who may; from another site nothing is."""
    name = ask(place, "/trackers")["trackers"][0]["id"]
    assert "Take it over" not in text(signed_in(place, Role.READER).get(f"/trackers/{name}"))
    officer = signed_in(place, Role.OFFICER)
    page = officer.get(f"/trackers/{name}").body.decode()
    assert "Take it over" in page
    assert 'value="acme-example"' in page
    form: Any = {**ACME, "hosts": "pixel.acme.example"}
    assert signed_in(place, Role.ANALYST).post("/trackers/classification", form).status == 403
    assert officer.post("/trackers/classification", form, {"sec-fetch-site": "cross-site"}).status == 403
    wrong = officer.post("/trackers/classification", {**form, "category": "marketing"})
    assert (wrong.status, "That cannot be said of a vendor" in text(wrong)) == (400, True)
    taken = officer.post("/trackers/classification", form)
    assert (taken.status, "acme-pixel , targeting" in text(taken)) == (200, True)
    again = officer.post("/trackers/classification", form)
    assert (again.status, "That was not taken over" in text(again)) == (409, True)


def test_an_office_that_the_policy_does_not_let_only_proposes(place: Place) -> None:
    """Nor does one that has no policy file."""
    policy = place.folder.path.parent / "consent.toml"
    policy.write_text(POLICY.replace("[office]\nclassified", "# classified"))
    mount(place, policy)
    answer = place.ask("/classifications", Role.OFFICER, method="POST", body=ACME)
    assert answer.status == 409
    assert "the policy does not let the office" in answer.json["error"]["message"]
    name = ask(place, "/trackers")["trackers"][0]["id"]
    page = text(signed_in(place, Role.OFFICER).get(f"/trackers/{name}"))
    assert "The policy does not let the office change it" in page
    assert [entry.what for entry in place.accesses.newest(limit=1)] != ["classified"]


def test_a_file_that_somebody_else_wrote_is_left_alone(place: Place) -> None:
    """What the office did not write is not lost by its writing."""
    classified = place.folder.path.parent / "classified.toml"
    for content in ('[[vendor]]\nid = "x"\ncookie = []\n', "declare = ["):
        classified.write_text(content)
        answer = place.ask("/classifications", Role.OFFICER, method="POST", body={"id": "youtube"})
        assert answer.status == 409, answer.body
        assert classified.read_text() == content
        assert [each.what for each in place.accesses.newest(limit=2)] == ["not-classified", "classified"]


@pytest.fixture
def policy_folder(tmp_path: Path) -> Path:
    (tmp_path / "consent.toml").write_text(POLICY)
    return tmp_path


@pytest.mark.parametrize(
    ("classified", "message"),
    [
        ('declare = ["nobody"]', 'the catalog has no vendor "nobody"'),
        ("regime = 'opt-out'", "unknown key: what the office"),
        ('[[vendor]]\nid = "a"\n', "missing"),
    ],
)
def test_a_wrong_file_of_the_office_is_named(policy_folder: Path, classified: str, message: str) -> None:
    """With its own name and line."""
    (policy_folder / "classified.toml").write_text(classified)
    with pytest.raises(Exception, match=message) as raised:
        load_policy(policy_folder / "consent.toml", load_catalog())
    assert "classified.toml" in str(raised.value)


def test_the_policy_file_has_the_last_word(policy_folder: Path) -> None:
    """A vendor that both describe is the policy file's; one that both declare is declared once."""
    vendor = "\n".join(
        f"{name} = {value!r}".replace("'", '"') for name, value in ACME.items() if name != "company"
    )
    tables = f'\n[[vendor]]\n{vendor}\ncompany = "{{}}"\n'
    (policy_folder / "consent.toml").write_text(POLICY + tables.format("Ours"))
    (policy_folder / "classified.toml").write_text('declare = ["hotjar"]\n' + tables.format("Theirs"))
    policy, catalog = load_policy(policy_folder / "consent.toml", load_catalog())
    assert [vendor.id for vendor in policy.vendors] == ["hotjar", "acme-pixel"]
    assert catalog.vendors["acme-pixel"].company == "Ours"
