"""The terms of a policy as artefacts: written in one way, read back as what they were."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from consent.canonical_json import canonical_json
from consent.catalog import load_catalog
from consent.errors import InvalidReceiptError
from consent.policy import Policy
from consent.policy_file import load_policy
from consent.receipts import Artefact
from consent.terms import Terms, TermsArtefacts, read_terms, terms_artefacts, terms_of
from tests.test_receipts import make_receipt


def declared(tmp_path: Path) -> Policy:
    """A policy of the site's own."""
    path = tmp_path / "consent.toml"
    path.write_text(
        """\
declare = ["matomo"]
regime = "opt-out"
jurisdiction = "US-CA"
[site]
name = "Example shop"
controller = "Example Trading Ltd"
contact = "privacy@shop.example"
privacy_url = "https://shop.example/privacy"
[[vendor]]
id = "example-maps"
name = "Example Maps"
company = "Example Maps GmbH"
country = "DE"
privacy = "https://maps.example/privacy"
category = "functional"
about = "Shows where the shop is."
hosts = ["maps.example"]
[[cookie]]
name = "basket"
category = "functional"
purpose = "Keeps the basket."
lifetime = "7 days"
"""
    )
    policy, _ = load_policy(path, load_catalog())
    return policy


def test_terms_are_read_as_they_were_declared(tmp_path: Path) -> None:
    """All that visitors are told of, vendors by id; how they are recognised on a page is nobody's business."""
    policy = declared(tmp_path)
    artefacts = terms_artefacts(policy)
    terms = read_terms(artefacts)
    for name in Terms.__dataclass_fields__.keys() - {"vendors", "own_cookies"}:
        assert getattr(terms, name) == getattr(policy, name)
    assert terms.own_cookies == policy.own_cookies
    known = {vendor.id: vendor for vendor in policy.vendors}
    assert [vendor.id for vendor in terms.vendors] == ["example-maps", "matomo"]
    for vendor in terms.vendors:
        was = known[vendor.id]
        assert (vendor.name, vendor.company, vendor.country, vendor.category) == (
            was.name,
            was.company,
            was.country,
            was.category,
        )
        assert (vendor.about, vendor.cookies, vendor.storage) == (was.about, was.cookies, was.storage)
        assert (vendor.hosts, vendor.urls, vendor.inline) == ((), (), ())
    assert terms.vendors[1].cookies
    assert b"maps.example/privacy" in artefacts.vendor_list.content
    assert b'"maps.example"' not in artefacts.vendor_list.content


def test_the_sites_that_an_answer_counts_on_are_among_the_terms() -> None:
    """In the order that visitors read them in; where a site is alone, nothing is said of a group."""
    group = ("https://shop.example.com", "https://shop.example.org")
    artefacts = terms_artefacts(Policy(group=group))
    assert json.loads(artefacts.policy.content)["group"] == list(group)
    assert read_terms(artefacts).group == group
    alone = terms_artefacts(Policy())
    assert "group" not in json.loads(alone.policy.content)
    assert read_terms(alone).group == ()


def test_what_is_the_same_is_the_same_artefact(tmp_path: Path) -> None:
    """The vendors of two policies that declare the same are kept once; another controller is another policy."""
    policy = declared(tmp_path)
    one, other = (
        terms_artefacts(policy),
        terms_artefacts(Policy(site="Another", vendors=policy.vendors[::-1])),
    )
    assert one.policy.hash != other.policy.hash
    again = terms_artefacts(declared(tmp_path))
    assert again == one
    same = terms_artefacts(Policy(site="A third", vendors=policy.vendors))
    assert same.vendor_list == other.vendor_list


@pytest.mark.parametrize("name", ["policy", "vendor_list"])
@pytest.mark.parametrize(
    "change",
    [
        lambda content: {**content, "schema_version": 2},
        lambda content: {**content, "more": 1},
        lambda content: {},
        lambda content: [],
    ],
)
def test_anything_else_is_refused(name: str, change: object) -> None:
    """Rather than a half of it."""
    artefacts = {
        "policy": terms_artefacts(Policy()).policy,
        "vendor_list": terms_artefacts(Policy()).vendor_list,
    }
    assert callable(change)
    changed = canonical_json(change(json.loads(artefacts[name].content)))
    artefacts[name] = Artefact(content=changed, media_type="application/json")
    with pytest.raises(InvalidReceiptError, match="the terms kept with a receipt"):
        read_terms(TermsArtefacts(**artefacts))


def test_terms_that_are_missing_are_an_error() -> None:
    """A receipt that names them had them when it was recorded."""
    receipt = make_receipt(policy_hash="ab" * 32, vendor_list_hash="cd" * 32)
    with pytest.raises(InvalidReceiptError, match="is missing"):
        terms_of(receipt, lambda digest: None)
