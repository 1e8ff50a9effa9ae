"""What goes is said at least 60 days before: in the answers, in the description, and in the changelog."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from consent.office.api import app as app_module
from consent.office.api import openapi
from consent.office.api.endpoint import Content, Endpoint
from consent.office.api.table import ENDPOINTS
from consent.office.deprecation import Deprecated
from consent.office.questions import Parameter
from consent.office.roles import Role
from tests.test_office_api import Place

CHANGELOG = Path(__file__).parent.parent / "CHANGELOG.md"
OLD = Deprecated(date(2026, 3, 1), date(2026, 5, 1), "use GET /new instead")
OLDER = Deprecated(date(2026, 1, 31), date(2026, 6, 1), "leave it out")


def deprecated(endpoints: Iterable[Endpoint]) -> Iterator[tuple[str, Deprecated]]:
    """Yield what goes, with the words that the changelog has to have."""
    for endpoint in endpoints:
        if endpoint.deprecated is not None:
            yield f"{endpoint.method} {endpoint.path}", endpoint.deprecated
        for parameter in endpoint.parameters:
            if parameter.deprecated is not None:
                yield parameter.name, parameter.deprecated
        yield from endpoint.deprecated_members.items()


def unannounced(endpoints: Iterable[Endpoint], changelog: str) -> Sequence[str]:
    """Return what goes and is not in a section *Deprecated* of the changelog, with the day on which it may be gone."""
    sections = re.findall(r"^### Deprecated\n(.*?)(?=^##|\Z)", changelog, re.M | re.S)
    entries = [" ".join(entry.split()) for section in sections for entry in section.split("\n- ")]
    return [
        name
        for name, what in deprecated(endpoints)
        if not any(f"`{name}`" in entry and what.gone.isoformat() in entry for entry in entries)
    ]


def test_all_that_goes_is_in_the_changelog() -> None:
    """By name and day."""
    assert unannounced(ENDPOINTS, CHANGELOG.read_text(encoding="utf-8")) == []


def test_what_is_missing_in_the_changelog_is_found() -> None:
    """Under another heading, or without its day, it counts as missing."""
    old = replace(ENDPOINTS[0], deprecated=OLD, parameters=(Parameter("page", "", {}, OLDER),))
    whole = "### Deprecated\n\n- `GET /me` goes on\n  2026-05-01.\n- `page`: 2026-06-01.\n\n### Added\n"
    assert unannounced([old], whole) == []
    assert unannounced([old], whole.replace("Deprecated", "Changed")) == ["GET /me", "page"]
    assert unannounced([old], whole.replace("2026-05-01", "soon")) == ["GET /me"]
    assert unannounced([old], "") == ["GET /me", "page"]


def test_there_are_sixty_days_at_least() -> None:
    """Fewer cannot be written down."""
    Deprecated(date(2026, 3, 1), date(2026, 4, 30), "x")
    with pytest.raises(ValueError, match="2026-03-01 to 2026-04-29: at least 60 days"):
        Deprecated(date(2026, 3, 1), date(2026, 4, 29), "x")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A place whose API has things that go."""

    def answer(_: object) -> Content:
        return Content({})

    endpoints = (
        Endpoint(method="GET", path="/old", about="Old.", action=None, answer=answer, deprecated=OLD),
        Endpoint(
            method="GET", path="/new", about="New.", action=None, answer=answer,
            parameters=(Parameter("page", "The page.", {"type": "integer"}, OLDER),),
        ),
        Endpoint(
            method="POST", path="/new", about="Make.", action=None, answer=answer, deprecated=OLD,
            body={"type": "object", "properties": {"name": {"type": "string"}, "nick": {"type": "string"}}},
            deprecated_members={"nick": OLDER},
        ),
    )  # fmt: skip
    monkeypatch.setattr(app_module, "ENDPOINTS", endpoints)
    monkeypatch.setattr(openapi, "ENDPOINTS", endpoints)
    return Place(tmp_path / "data")


def test_who_uses_what_goes_is_told(place: Place) -> None:
    """RFC 9745 and RFC 8594; the earliest days where several go; nobody else is told anything."""
    old = place.ask("/old", Role.READER).headers
    assert (old["deprecation"], old["sunset"]) == ("@1772323200", "Fri, 01 May 2026 00:00:00 GMT")
    new = place.ask("/new?page=1", Role.READER).headers
    assert (new["deprecation"], new["sunset"]) == ("@1769817600", "Mon, 01 Jun 2026 00:00:00 GMT")
    assert "deprecation" not in place.ask("/new", Role.READER).headers
    both = place.ask("/new", Role.READER, method="POST", body={"nick": "x"}).headers
    assert (both["deprecation"], both["sunset"]) == ("@1769817600", "Fri, 01 May 2026 00:00:00 GMT")
    alone = place.ask("/new", Role.READER, method="POST", body={"name": "x"}).headers
    assert alone["deprecation"] == "@1772323200"


def test_the_description_says_what_goes(place: Place) -> None:
    """With its days and what to use instead."""
    paths = place.ask("/openapi.json").json["paths"]
    assert paths["/old"]["get"]["deprecated"] is True
    assert paths["/old"]["get"]["description"].endswith(
        " Deprecated since 2026-03-01, may be gone on 2026-05-01: use GET /new instead"
    )
    assert "deprecated" not in paths["/new"]["get"]
    assert paths["/new"]["get"]["parameters"][0]["deprecated"] is True
    members = paths["/new"]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert members["nick"]["deprecated"] is True
    assert members["name"] == {"type": "string"}
