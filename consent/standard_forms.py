"""Receipts in the forms of others: the Kantara consent receipt 1.1, and the structure of ISO/IEC TS 27560:2023.

Both want to know more than a receipt says, such as who the controller is: that comes from the terms that the receipt
names. What neither can say, such as the signals, stays out of them; the receipt itself is the proof.
"""

from __future__ import annotations

from consent.catalog import Catalog, Vendor
from consent.categories import OPTIONAL, Category
from consent.errors import InvalidReceiptError
from consent.moments import parse_moment
from consent.receipts import Outcome, Receipt
from consent.terms import Terms

_PURPOSES = {
    Category.PERFORMANCE: "Counting visits and measuring how the site is used",
    Category.FUNCTIONAL: "Enhanced functions, personalisation and embedded content",
    Category.TARGETING: "Profiles and advertising",
}
_KANTARA_CATEGORIES = {
    Category.PERFORMANCE: "Improve Performance",
    Category.FUNCTIONAL: "Personalized Experience",
    Category.TARGETING: "Marketing Third Parties",
}
_DPV_PURPOSES = {
    Category.PERFORMANCE: "dpv:ServiceUsageAnalytics",
    Category.FUNCTIONAL: "dpv:ServicePersonalisation",
    Category.TARGETING: "dpv:TargetedAdvertising",
}
_PII = ("Online identifiers", "Browsing behaviour")

# The members keep the names of ISO/IEC TS 27560, and mean the terms of the W3C's Data Privacy Vocabulary.
_CONTEXT: dict[str, object] = {
    "@version": 1.1,
    "dct": "http://purl.org/dc/terms/",
    "dpv": "https://w3id.org/dpv#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
    "header": "@nest",
    "processing": "@nest",
    "schema_version": "dct:conformsTo",
    "record_id": "dct:identifier",
    "pii_principal_id": "dpv:hasDataSubject",
    "privacy_notice": "dpv:hasNotice",
    "language": "dct:language",
    "purposes": "dpv:hasPurpose",
    "pii_information": "dpv:hasPersonalData",
    "pii_controllers": "dpv:hasDataController",
    "storage_locations": "dpv:hasLocation",
    "retention_period": "dpv:hasStorageCondition",
    "jurisdiction": "dpv:hasJurisdiction",
    "recipient_third_parties": "dpv:hasRecipientThirdParty",
    "withdrawal_method": "dpv:hasWithdrawalMethod",
    "lawful_basis": {"@id": "dpv:hasLegalBasis", "@type": "@id"},
    "collection_method": "dpv:hasMethod",
    "service": "dpv:hasService",
    "privacy_rights": "dpv:hasRight",
    "events": "dpv:hasConsentStatus",
    "event_time": {"@id": "dpv:isIndicatedAtTime", "@type": "xsd:dateTime"},
    "validity_duration": {"@id": "dpv:hasDuration", "@type": "xsd:duration"},
    "entity_id": "dpv:isIndicatedBy",
    "event_type": {"@id": "dpv:hasIndicationMethod", "@type": "@id"},
    "event_state": {"@id": "@type"},
    "purpose": {"@id": "dpv:hasContext", "@type": "@id"},
    "id": "@id",
    "type": "@type",
    "title": "dct:title",
    "vendors": "dpv:hasRecipient",
}


def kantara_receipt(receipt: Receipt, terms: Terms, catalog: Catalog) -> dict[str, object]:
    """Return a consent in the form of the Kantara Initiative's Consent Receipt Specification 1.1.

    Args:
        receipt: a yes to something: the form has no word for anything else.
        terms: those that the choice was made under.
        catalog: knows vendors that the visitor named, and the policy did not declare.

    Raises:
        InvalidReceiptError: it is not a yes, or the terms are those of another policy.
    """
    _require_version(receipt, terms)
    granted = {category: _vendors(receipt, terms, catalog, category) for category in OPTIONAL}
    purposes = [
        {
            "purpose": _PURPOSES[category],
            "purposeCategory": [_KANTARA_CATEGORIES[category]],
            "consentType": "EXPLICIT",
            "piiCategory": list(_PII),
            "primaryPurpose": False,
            "termination": f"When it is withdrawn, at the latest after {terms.choice_days} days",
            "thirdPartyDisclosure": bool(vendors),
            "thirdPartyName": ", ".join(sorted({vendor.company or vendor.name for vendor in vendors})),
        }
        for category, vendors in granted.items()
        if receipt.categories[category] or vendors
    ]
    if not purposes:
        raise InvalidReceiptError(
            f"receipt {receipt.receipt_id} is no consent, and Kantara's form has no word for a refusal"
        )
    return {
        "version": "KI-CR-v1.1.0",
        "jurisdiction": receipt.jurisdiction,
        "consentTimestamp": parse_moment(receipt.time) // 1_000,
        "collectionMethod": str(receipt.collection_method),
        "consentReceiptID": receipt.receipt_id,
        "language": receipt.language,
        "piiPrincipalId": receipt.subject,
        "piiControllers": [
            {
                "piiController": terms.controller or receipt.site,
                "contact": terms.contact,
                "address": "",
                "email": terms.contact if "@" in terms.contact else "",
                "phone": "",
            }
        ],
        "policyUrl": terms.privacy_url,
        "services": [{"service": receipt.site, "purposes": purposes}],
        "sensitive": False,
        "spiCat": [],
    }


def iso_27560_record(receipt: Receipt, terms: Terms, catalog: Catalog) -> dict[str, object]:
    """Return a choice in the structure of ISO/IEC TS 27560:2023, as JSON-LD with the terms of the DPV.

    Args:
        receipt: any choice.
        terms: those that it was made under.
        catalog: knows vendors that the visitor named, and the policy did not declare.

    Raises:
        InvalidReceiptError: the terms are those of another policy.
    """
    _require_version(receipt, terms)
    vendors = {category: _vendors(receipt, terms, catalog, category) for category in OPTIONAL}
    return {
        "@context": _CONTEXT,
        "id": f"urn:uuid:{receipt.receipt_id}",
        "type": "dpv:ConsentRecord",
        "header": {
            "schema_version": "ISO/IEC TS 27560:2023",
            "record_id": receipt.receipt_id,
            "pii_principal_id": receipt.subject,
        },
        "processing": {
            "privacy_notice": terms.privacy_url,
            "language": receipt.language,
            "purposes": [
                {
                    "id": f"urn:uuid:{receipt.receipt_id}#{category}",
                    "type": _DPV_PURPOSES[category],
                    "title": _PURPOSES[category],
                    "vendors": sorted(vendor.name for vendor in vendors[category]),
                }
                for category in OPTIONAL
            ],
            "pii_information": list(_PII),
            "pii_controllers": [terms.controller or receipt.site],
            "storage_locations": sorted(
                {vendor.country for some in vendors.values() for vendor in some if vendor.country}
            ),
            "retention_period": f"P{terms.choice_days}D",
            "jurisdiction": receipt.jurisdiction,
            "recipient_third_parties": sorted(
                {v.company or v.name for some in vendors.values() for v in some}
            ),
            "withdrawal_method": "The control on every page of the site",
            "lawful_basis": "dpv:Consent",
            "collection_method": str(receipt.collection_method),
            "service": receipt.site,
            "privacy_rights": terms.privacy_url,
        },
        "events": [
            {
                "event_time": receipt.time,
                "validity_duration": f"P{terms.choice_days}D",
                "entity_id": receipt.subject,
                "event_type": "dpv:ExplicitlyExpressedConsent",
                "event_state": _state(receipt, category),
                "purpose": f"urn:uuid:{receipt.receipt_id}#{category}",
            }
            for category in OPTIONAL
        ],
    }


def _state(receipt: Receipt, category: Category) -> str:
    if receipt.categories[category]:
        return "dpv:ConsentGiven"
    return "dpv:ConsentWithdrawn" if receipt.outcome is Outcome.WITHDRAWN else "dpv:ConsentRefused"


def _vendors(receipt: Receipt, terms: Terms, catalog: Catalog, category: Category) -> list[Vendor]:
    """Return the vendors that the policy declares and the visitor allowed, and those that he named himself."""
    declared = {vendor.id: vendor for vendor in terms.vendors}
    named = {name: catalog.vendors[name] for name in receipt.vendors if name in catalog.vendors}
    return [
        vendor
        for vendor_id, vendor in sorted({**named, **declared}.items())
        if vendor.category is category and receipt.vendors.get(vendor_id, receipt.categories[category])
    ]


def _require_version(receipt: Receipt, terms: Terms) -> None:
    if receipt.policy_version != terms.version:
        raise InvalidReceiptError(
            f"the choice was made under policy {receipt.policy_version}, and the one given is {terms.version}: "
            "give the file as it was then"
        )
