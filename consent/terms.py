"""What a visitor was asked to agree to, kept beside the receipts: the policy, and the vendors that it declares.

Each is an artefact, canonical JSON that receipts name by its hash. So a receipt says who asked and for whom without
the policy file of that time. Texts are not repeated: what the visitor read is an artefact of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from consent.canonical_json import canonical_json, parse_canonical
from consent.catalog import Cookie, StorageKey, Vendor
from consent.categories import Category
from consent.errors import InvalidReceiptError
from consent.policy import OwnCookie, Policy, Regime
from consent.receipts import MAX_ARTEFACT_BYTES, Artefact, Receipt

MEDIA_TYPE: Final = "application/json"
SCHEMA_VERSION: Final = 1
"""Version of the members of both."""

_POLICY_TEXTS: Final = ("version", "site", "controller", "contact", "privacy_url", "jurisdiction")
_POLICY_REFUSALS: Final = ("gpc_refuses", "dnt_refuses", "opt_out_refuses")
_VENDOR_TEXTS: Final = (
    "id",
    "name",
    "company",
    "country",
    "privacy_url",
    "about",
    "opt_out_url",
    "listed_by",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """A policy as far as it is a visitor's business. The fields are those of :class:`consent.policy.Policy`."""

    version: str
    site: str
    controller: str
    contact: str
    privacy_url: str
    regime: Regime
    jurisdiction: str
    choice_days: int
    children: bool
    gpc_refuses: frozenset[Category]
    dnt_refuses: frozenset[Category]
    opt_out_refuses: frozenset[Category]
    vendors: tuple[Vendor, ...]
    """Without what recognises them on a page."""
    own_cookies: tuple[OwnCookie, ...]
    group: tuple[str, ...] = ()

    def policy(self) -> Policy:
        """Return a policy with these terms, and otherwise as if nothing were set.

        Raises:
            ConfigurationError: they are not those of a policy of this release.
        """
        said = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "version"}
        return Policy(**said)


@dataclass(frozen=True, slots=True)
class TermsArtefacts:
    """The two artefacts that receipts under one policy name."""

    policy: Artefact
    vendor_list: Artefact


def terms_json(terms: Terms) -> dict[str, object]:
    """Return terms as plain JSON values: the members of both artefacts."""
    return {
        **{name: getattr(terms, name) for name in _POLICY_TEXTS},
        **{name: sorted(map(str, getattr(terms, name))) for name in _POLICY_REFUSALS},
        "regime": str(terms.regime),
        "choice_days": terms.choice_days,
        "children": terms.children,
        "group": list(terms.group),
        "vendors": [_vendor_json(vendor) for vendor in terms.vendors],
        "own_cookies": [{**asdict(cookie), "category": str(cookie.category)} for cookie in terms.own_cookies],
    }


def terms_artefacts(policy: Policy) -> TermsArtefacts:
    """Write the terms of ``policy``.

    Raises:
        InvalidReceiptError: the vendors declared are more than an artefact holds.
    """
    rules = {
        **{name: getattr(policy, name) for name in _POLICY_TEXTS},
        **{name: sorted(map(str, getattr(policy, name))) for name in _POLICY_REFUSALS},
        "regime": str(policy.regime),
        "choice_days": policy.choice_days,
        "children": policy.children,
    }
    if policy.group:
        # Only then, so that the terms of all others stay the same to the byte.
        rules["group"] = list(policy.group)
    vendors = {
        "vendors": [_vendor_json(vendor) for vendor in sorted(policy.vendors, key=lambda vendor: vendor.id)],
        "own_cookies": [
            {**asdict(cookie), "category": str(cookie.category)}
            for cookie in sorted(policy.own_cookies, key=lambda cookie: cookie.name)
        ],
    }
    return TermsArtefacts(_artefact(rules), _artefact(vendors))


def read_terms(artefacts: TermsArtefacts) -> Terms:
    """Read what :func:`terms_artefacts` wrote.

    Raises:
        InvalidReceiptError: one of them is something else, or of a later version.
    """
    rules, listed = _content(artefacts.policy), _content(artefacts.vendor_list)
    try:
        vendors, own_cookies = listed.pop("vendors"), listed.pop("own_cookies")
        if listed:
            raise ValueError(f"unknown members {', '.join(listed):.200}")
        return Terms(
            **{
                **rules,
                **{name: frozenset(map(Category, rules[name])) for name in _POLICY_REFUSALS},
                "regime": Regime(rules["regime"]),
                "group": tuple(rules.get("group", ())),
            },
            vendors=tuple(map(_vendor, vendors)),
            own_cookies=tuple(
                OwnCookie(**{**cookie, "category": Category(cookie["category"])}) for cookie in own_cookies
            ),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidReceiptError(f"the terms kept with a receipt are not in a known form: {error}") from None


def terms_of(receipt: Receipt, artefact: Callable[[str], Artefact | None]) -> Terms | None:
    """Return what ``receipt`` is about; ``None`` for one of schema version 1, which does not say.

    Args:
        receipt: the receipt.
        artefact: returns an artefact by its hash, as :meth:`consent.store.ReceiptLog.artefact` does.

    Raises:
        InvalidReceiptError: what the receipt names is missing, or was altered.
    """
    if receipt.policy_hash is None or receipt.vendor_list_hash is None:
        return None
    policy, vendor_list = artefact(receipt.policy_hash), artefact(receipt.vendor_list_hash)
    if policy is None or vendor_list is None:
        raise InvalidReceiptError("the policy or the vendor list that the receipt names is missing")
    return read_terms(TermsArtefacts(policy, vendor_list))


def _artefact(members: Mapping[str, object]) -> Artefact:
    content = canonical_json({"schema_version": SCHEMA_VERSION, **members})
    return Artefact(content=content, media_type=MEDIA_TYPE)


def _content(artefact: Artefact) -> dict[str, Any]:
    content = parse_canonical(artefact.content, max_bytes=MAX_ARTEFACT_BYTES)
    if not isinstance(content, dict) or content.pop("schema_version", None) != SCHEMA_VERSION:
        raise InvalidReceiptError(
            "the terms kept with a receipt are of a version that is not known: update it"
        )
    return content


def _vendor_json(vendor: Vendor) -> dict[str, object]:
    return {
        **{name: getattr(vendor, name) for name in _VENDOR_TEXTS},
        "category": str(vendor.category),
        "cookies": [asdict(cookie) for cookie in vendor.cookies],
        "storage": [asdict(key) for key in vendor.storage],
    }


def _vendor(members: Mapping[str, Any]) -> Vendor:
    return Vendor(
        **{
            **members,
            "category": Category(members["category"]),
            "cookies": tuple(Cookie(**cookie) for cookie in members["cookies"]),
            "storage": tuple(StorageKey(**key) for key in members["storage"]),
        }
    )
