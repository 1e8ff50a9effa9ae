"""Receipts in the forms of others, member by member."""

from __future__ import annotations

from typing import Any

import pytest

from consent.catalog import Catalog, Vendor
from consent.categories import Category
from consent.errors import InvalidReceiptError
from consent.policy import Policy
from consent.receipts import Outcome, Receipt
from consent.standard_forms import iso_27560_record, kantara_receipt
from consent.terms import read_terms, terms_artefacts
from tests.test_receipts import make_receipt, receipt_id


def vendor(name: str, category: Category, country: str) -> Vendor:
    return Vendor(
        id=name.lower(),
        name=name,
        company=f"{name} Ltd",
        country=country,
        privacy_url="https://vendor.example/privacy",
        category=category,
        about="It counts.",
    )


COUNTER = vendor("Counter", Category.PERFORMANCE, "IE")
ADS = vendor("Ads", Category.TARGETING, "US")
CHAT = vendor("Chat", Category.FUNCTIONAL, "DE")
POLICY = Policy(
    site="Example shop",
    controller="Example Trading Ltd",
    contact="privacy@shop.example",
    privacy_url="https://shop.example/privacy",
    jurisdiction="EU",
    choice_days=90,
    vendors=(COUNTER, ADS, CHAT),
)
TERMS = read_terms(terms_artefacts(POLICY))
CATALOG = Catalog([])


def given(**fields: Any) -> Receipt:
    return make_receipt(
        1,
        **{
            "policy_version": POLICY.version,
            "jurisdiction": "EU",
            "time": "2026-03-01T12:00:00.250Z",
            "outcome": Outcome.GIVEN,
            "categories": {
                Category.PERFORMANCE: True,
                Category.FUNCTIONAL: False,
                Category.TARGETING: False,
            },
            "vendors": {"chat": True},
            **fields,
        },
    )


def purpose(name: str, category: str, company: str) -> dict[str, object]:
    return {
        "purpose": name,
        "purposeCategory": [category],
        "consentType": "EXPLICIT",
        "piiCategory": ["Online identifiers", "Browsing behaviour"],
        "primaryPurpose": False,
        "termination": "When it is withdrawn, at the latest after 90 days",
        "thirdPartyDisclosure": True,
        "thirdPartyName": company,
    }


def test_a_consent_as_kantara_has_it() -> None:
    """Every member of the specification's version 1.1, and no other."""
    receipt = given()
    assert kantara_receipt(receipt, TERMS, CATALOG) == {
        "version": "KI-CR-v1.1.0",
        "jurisdiction": "EU",
        "consentTimestamp": 1_772_366_400,
        "collectionMethod": "banner-form",
        "consentReceiptID": receipt_id(1),
        "language": "en",
        "piiPrincipalId": receipt.subject,
        "piiControllers": [
            {
                "piiController": "Example Trading Ltd",
                "contact": "privacy@shop.example",
                "address": "",
                "email": "privacy@shop.example",
                "phone": "",
            }
        ],
        "policyUrl": "https://shop.example/privacy",
        "services": [
            {
                "service": "Example shop",
                "purposes": [
                    purpose(
                        "Counting visits and measuring how the site is used",
                        "Improve Performance",
                        "Counter Ltd",
                    ),
                    purpose(
                        "Enhanced functions, personalisation and embedded content",
                        "Personalized Experience",
                        "Chat Ltd",
                    ),
                ],
            }
        ],
        "sensitive": False,
        "spiCat": [],
    }


def test_kantara_has_no_word_for_a_refusal() -> None:
    """It is said, instead of a receipt of consent that nobody gave."""
    refusal = given(outcome=Outcome.REFUSED, categories=dict.fromkeys(given().categories, False), vendors={})
    with pytest.raises(
        InvalidReceiptError, match="is no consent, and Kantara's form has no word for a refusal"
    ):
        kantara_receipt(refusal, TERMS, CATALOG)


def test_a_choice_as_iso_27560_has_it() -> None:
    """Header, processing and one event for each purpose, with a context that names the terms."""
    receipt = given()
    record = iso_27560_record(receipt, TERMS, CATALOG)
    context = record.pop("@context")
    assert isinstance(context, dict)
    assert record == {
        "id": f"urn:uuid:{receipt_id(1)}",
        "type": "dpv:ConsentRecord",
        "header": {
            "schema_version": "ISO/IEC TS 27560:2023",
            "record_id": receipt_id(1),
            "pii_principal_id": receipt.subject,
        },
        "processing": {
            "privacy_notice": "https://shop.example/privacy",
            "language": "en",
            "purposes": [
                {
                    "id": f"urn:uuid:{receipt_id(1)}#performance",
                    "type": "dpv:ServiceUsageAnalytics",
                    "title": "Counting visits and measuring how the site is used",
                    "vendors": ["Counter"],
                },
                {
                    "id": f"urn:uuid:{receipt_id(1)}#functional",
                    "type": "dpv:ServicePersonalisation",
                    "title": "Enhanced functions, personalisation and embedded content",
                    "vendors": ["Chat"],
                },
                {
                    "id": f"urn:uuid:{receipt_id(1)}#targeting",
                    "type": "dpv:TargetedAdvertising",
                    "title": "Profiles and advertising",
                    "vendors": [],
                },
            ],
            "pii_information": ["Online identifiers", "Browsing behaviour"],
            "pii_controllers": ["Example Trading Ltd"],
            "storage_locations": ["DE", "IE"],
            "retention_period": "P90D",
            "jurisdiction": "EU",
            "recipient_third_parties": ["Chat Ltd", "Counter Ltd"],
            "withdrawal_method": "The control on every page of the site",
            "lawful_basis": "dpv:Consent",
            "collection_method": "banner-form",
            "service": "Example shop",
            "privacy_rights": "https://shop.example/privacy",
        },
        "events": [
            {
                "event_time": "2026-03-01T12:00:00.250Z",
                "validity_duration": "P90D",
                "entity_id": receipt.subject,
                "event_type": "dpv:ExplicitlyExpressedConsent",
                "event_state": state,
                "purpose": f"urn:uuid:{receipt_id(1)}#{category}",
            }
            for category, state in (
                ("performance", "dpv:ConsentGiven"),
                ("functional", "dpv:ConsentRefused"),
                ("targeting", "dpv:ConsentRefused"),
            )
        ],
    }
    names = {
        name for part in (record["header"], record["processing"]) if isinstance(part, dict) for name in part
    }
    assert names <= context.keys()
    assert {context[name] for name in ("header", "processing")} == {"@nest"}


def test_a_withdrawal_is_one_in_iso_27560() -> None:
    """Of every purpose."""
    withdrawn = given(
        outcome=Outcome.WITHDRAWN, categories=dict.fromkeys(given().categories, False), vendors={}
    )
    events = iso_27560_record(withdrawn, TERMS, CATALOG)["events"]
    assert isinstance(events, list)
    assert {event["event_state"] for event in events} == {"dpv:ConsentWithdrawn"}


def test_another_policy_than_the_choices_is_refused() -> None:
    """It would put other vendors and another controller under it."""
    receipt = given(policy_version="0" * 12)
    for write in (kantara_receipt, iso_27560_record):
        with pytest.raises(InvalidReceiptError, match="the choice was made under policy 000000000000, and"):
            write(receipt, TERMS, CATALOG)
