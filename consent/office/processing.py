"""An extract for the records of processing activities (GDPR, Article 30): what the receipts and policies say of it.

It is an extract: what nobody told the product is not in it, and it says so. What the basis in law is, a person decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from consent.categories import Category
from consent.moments import format_moment
from consent.office.asked_under import AskedUnder, asked_under, days_before
from consent.office.asker import Asker
from consent.office.desk import Desk
from consent.office.roles import Action
from consent.policy import Policy, Regime
from consent.retention import days_kept
from consent.terms import Terms

PURPOSES: Final[Mapping[Category, str]] = {
    Category.STRICTLY_NECESSARY: "Running the site: what it cannot work without.",
    Category.PERFORMANCE: "Counting visits, and measuring how the site is used.",
    Category.FUNCTIONAL: "Enhanced functions, personalisation, and embeds such as video, maps and chat.",
    Category.TARGETING: "Profiles and advertising.",
}
"""What the categories are for, in a sentence each."""
BASES: Final[Mapping[Regime, str]] = {
    Regime.OPT_IN: "Consent: what is optional waits for it, and of each there is a receipt. Under the GDPR that is "
    "Article 6(1)(a).",
    Regime.OPT_OUT: "It happens until the visitor opts out; opt-outs are recorded. Consent is not its basis: which one "
    "is, a person has to add.",
    Regime.NOTICE: "It happens after notice; objections are recorded. Consent is not its basis: which one is, a person "
    "has to add.",
}
"""What the rules of a policy mean for the basis of what is optional, by regime."""
NECESSARY_BASIS: Final = "It is not asked for. Its basis is for a person to add."
RECORDS: Final = (
    "time, site and language of the choice",
    "the answers for each category and vendor, and the browser's signals",
    "the text that was shown, the version of the policy, and its list of vendors",
    "a random pseudonym of the visitor, which is in a cookie of the site",
    "where the visitor was taken to be, where the policy asks for it",
    "the browser's family and the kind of device; no IP address, no user agent",
)
"""What a receipt has of a visitor."""
MEASURES: Final = (
    "Receipts are encrypted in the database (AES-256-GCM), each visitor's under a key of their own, which is wrapped "
    "under a key outside the database.",
    "Receipts are leaves of a signed Merkle tree: what is altered, left out or put in later is found.",
    "Erasing destroys the visitor's key and the record; the log keeps a hash that confirms nothing about anybody.",
    "The office is open to people with a role, for some sites, until a day; visitors' data is opened with a reason, "
    "and who did is recorded in a signed log.",
    "The cookie with the choice is signed, HttpOnly and SameSite, and Secure over HTTPS.",
    "Third-party content of refused vendors, as far as it is known, is taken out of pages on the server.",
)
"""What the product itself does; whatever else protects the data, it does not know."""
TO_ADD: Final = (
    "representative and data protection officer, and joint controllers",
    "the basis in law of whatever is not based on consent, and of keeping the receipts",
    "what the vendors themselves collect, and the contracts with them (Article 28)",
    "safeguards for transfers to third countries (Chapter V): where data goes is not known here, only where the "
    "vendors are established",
    "processing that is not about cookies, tags and consent: accounts, orders, forms, logs of the web server",
    "measures around the product: hosting, backups, access to the machines",
)
"""What an extract cannot say, and a person has to."""
NOT_KNOWN: Final = "not known here"
_STORAGE: Final = {
    "session": "until the tab is closed",
    "local": "until it is deleted",
    "indexeddb": "until it is deleted",
}


def processing(
    desk: Desk, asker: Asker, day: str, site: str = "", policies: Sequence[Policy] = ()
) -> dict[str, Any]:
    """Return the extract as JSON values, one entry for each site and each way in which its visitors are asked.

    Args:
        desk: answers.
        asker: who asks; they get what is about their sites.
        day: as of when, UTC; what visitors last chose under is in force.
        site: only this one; empty: all.
        policies: those that the site has now, which say how long receipts are kept; none: those that the office knows.

    Raises:
        NotAllowed: the role does not allow it.
    """
    desk.require(asker, Action.COUNTS)
    newest: dict[tuple[str, str, str], AskedUnder] = {}
    for each in asked_under(desk, asker, days_before(day), day, site):
        newest[each.place] = max(newest.get(each.place, each), each, key=lambda known: known.last_day)
    known = policies or (desk.in_force.policies if desk.in_force is not None else ())
    kept = {policy.site: policy for policy in known}
    return {
        "day": day,
        "made": format_moment(int(desk.clock() * 1_000)),
        "activities": [_activity(each, kept.get(each[0].site)) for each in _alike(newest.values())],
        "security": list(MEASURES),
        "to_add": list(TO_ADD),
    }


def _alike(policies: Iterable[AskedUnder]) -> Iterable[Sequence[AskedUnder]]:
    """Put those together that say the same to visitors in several places."""
    alike: dict[tuple[str, ...], list[AskedUnder]] = {}
    for each in policies:
        alike.setdefault((each.site, each.regime, each.version, *each.hashes), []).append(each)
    return alike.values()


def _activity(policies: Sequence[AskedUnder], configured: Policy | None) -> dict[str, Any]:
    policy = policies[0]
    terms = policy.terms
    return {
        "site": policy.site,
        "regime": policy.regime,
        "jurisdictions": [each.jurisdiction for each in policies if each.jurisdiction],
        "policy_version": policy.version,
        "last_chosen_under": max(each.last_day for each in policies),
        "known": terms is not None,
        "controller": terms.controller if terms is not None and terms.controller else NOT_KNOWN,
        "contact": terms.contact if terms is not None and terms.contact else NOT_KNOWN,
        "privacy_notice": terms.privacy_url if terms is not None and terms.privacy_url else NOT_KNOWN,
        "data_subjects": "visitors of the site",
        "purposes": [] if terms is None else [_purpose(each, terms) for each in Category],
        "receipts": {
            "purpose": "Proving who consented to what (GDPR, Article 7(1)), and honouring it.",
            "data": list(RECORDS),
            "kept": _kept(policies, configured),
        },
    }


def _purpose(category: Category, terms: Terms) -> dict[str, Any]:
    optional = category is not Category.STRICTLY_NECESSARY
    vendors = [vendor for vendor in terms.vendors if vendor.category is category]
    return {
        "category": str(category),
        "purpose": PURPOSES[category],
        "basis": BASES[terms.regime] if optional else NECESSARY_BASIS,
        "never": terms.children and category is Category.TARGETING,
        "own_cookies": [
            {"name": cookie.name, "purpose": cookie.purpose, "lifetime": cookie.lifetime}
            for cookie in terms.own_cookies
            if cookie.category is category
        ],
        "recipients": [
            {
                "vendor": vendor.id,
                "name": vendor.name,
                "company": vendor.company or NOT_KNOWN,
                "established_in": vendor.country or NOT_KNOWN,
                "transfers": NOT_KNOWN,
                "about": vendor.about,
                "privacy_notice": vendor.privacy_url or NOT_KNOWN,
                "stored": [
                    *(_stored("cookie", each.name, each.purpose, each.lifetime) for each in vendor.cookies),
                    *(
                        _stored(f"{each.area} storage", each.key, each.purpose, _STORAGE[each.area])
                        for each in vendor.storage
                    ),
                ],
            }
            for vendor in vendors
        ],
    }


def _stored(kind: str, name: str, purpose: str, lifetime: str) -> dict[str, str]:
    return {"kind": kind, "name": name, "purpose": purpose, "lifetime": lifetime}


def _kept(policies: Sequence[AskedUnder], configured: Policy | None) -> list[dict[str, Any]]:
    how_long: dict[str, list[str]] = {}
    for each in policies:
        days = None if configured is None else days_kept(configured, each.jurisdiction)
        if days is None:
            words = f"{NOT_KNOWN}, but in the policy file, under [retention]"
        else:
            words = f"{days} days" if days else "until they are erased: no [retention] says for how long"
        how_long.setdefault(words, []).append(each.jurisdiction)
    return [
        {"jurisdictions": list(filter(None, places)), "how_long": words} for words, places in how_long.items()
    ]
