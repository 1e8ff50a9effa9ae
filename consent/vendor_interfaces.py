"""What a site's policy adds to the guard's script so that vendors are told what a visitor allows, in their own words.

Everything is put together at start-up, and is the same for everybody: what one visitor allows, the guard knows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from consent.catalog import Catalog
from consent.decision import FINAL, decide
from consent.guard import ClientPart
from consent.interface_rules import Interfaces
from consent.jurisdictions import place_rules
from consent.policy import Policy, Regime
from consent.variant_cookie import BY_SIGNALS

_FOLDER = "interfaces/"
_VENDORS = {
    "microsoft_uet": "microsoft-advertising",
    "clarity": "microsoft-clarity",
    "meta": "meta-pixel",
    "tiktok": "tiktok-pixel",
    "hubspot": "hubspot",
    "matomo": "matomo",
    "segment": "segment",
    "mixpanel": "mixpanel",
    "posthog": "posthog",
}
"""Whose each interface is, but Google's, who has many products."""
_GOOGLE_ADS = ("google-ads", "google-signals", "doubleclick", "google-adsense", "google-ad-manager")
_GOOGLE_ANALYTICS = ("google-analytics", "google-universal-analytics")
_AD_SIGNALS = ("ad_storage", "ad_user_data", "ad_personalization")
_ANALYTICS_SIGNALS = ("analytics_storage",)
_DENIED_ADS, _DENIED_ANALYTICS = (
    ["gtag", "consent", "update", dict.fromkeys(signals, "denied")]
    for signals in (_AD_SIGNALS, _ANALYTICS_SIGNALS)
)
REVOCATIONS: Mapping[str, Sequence[object]] = {
    **dict.fromkeys(_GOOGLE_ADS, _DENIED_ADS),
    **dict.fromkeys(_GOOGLE_ANALYTICS, _DENIED_ANALYTICS),
    "microsoft-advertising": ["uetq.push", "consent", "update", {"ad_storage": "denied"}],
    "microsoft-clarity": ["clarity", "consentv2", {"ad_Storage": "denied", "analytics_Storage": "denied"}],
    "meta-pixel": ["fbq", "consent", "revoke"],
    "tiktok-pixel": ["ttq.revokeConsent"],
    "hubspot": ["_hsp.push", ["revokeCookieConsent"]],
    "matomo": ["_paq.push", ["forgetConsentGiven"]],
    "segment": ["analytics.reset"],
    "mixpanel": ["mixpanel.opt_out_tracking"],
    "posthog": ["posthog.opt_out_capturing"],
}
"""What a vendor that runs in a page is told when it is refused: a function of the page, and its arguments."""
_TELL_EXACTLY = {
    "google": (*_GOOGLE_ADS, *_GOOGLE_ANALYTICS),
    "microsoft_uet": ("microsoft-advertising",),
    "clarity": ("microsoft-clarity",),
}
"""Interfaces that say themselves what is left of a consent."""


def interface_parts(
    policy: Policy, catalog: Catalog, *, uniform: bool = False, is_located: bool = False
) -> tuple[ClientPart, ...]:
    """Return what the guard's script is to have besides.

    Vendors that the policy declares are told when they are refused, whether or not it uses their interface.

    Args:
        policy: The site's rules.
        catalog: What is known about vendors, with the site's own.
        uniform: Whether everybody gets the same page.
        is_located: Whether it is known where visitors are, so that the policy is that of their place.
    """
    return tuple(_parts(policy, catalog, uniform=uniform, is_located=is_located))


def _parts(policy: Policy, catalog: Catalog, *, uniform: bool, is_located: bool) -> Iterator[ClientPart]:
    on = switched_on(policy.interfaces)
    exact = {vendor for name in on for vendor in _TELL_EXACTLY.get(name, ())}
    declared = [vendor.id for vendor in policy.vendors]
    used = dict.fromkeys((*declared, *(_VENDORS[name] for name in on if name in _VENDORS)))
    revocations = [
        [_spec(vendor, catalog), *REVOCATIONS[vendor]]
        for vendor in used
        if vendor in REVOCATIONS and vendor not in exact and vendor in catalog.vendors
    ]
    if not (on or revocations):
        return
    yield _part("withdrawal", REVOCATIONS=revocations)
    if not on:
        return
    yield ClientPart((f"{_FOLDER}announcing.js",), {}, is_first=True)
    if {"google", "microsoft_uet"} & {*on}:
        yield ClientPart(
            (f"{_FOLDER}silent{'_uniform' * uniform}.js",),
            {},
            tells_silence=policy.regime is not Regime.OPT_IN and not uniform,
        )
    if uniform and policy.let_through:
        tags = [catalog.vendors[tag] for tag in sorted(policy.let_through) if tag in catalog.vendors]
        decisions = [decide(policy, signals) for signals in BY_SIGNALS]
        let_through = [
            [_spec(tag.id, catalog) for tag in tags if decision.reason(tag.category) not in FINAL]
            for decision in decisions
        ]
        yield _part("google_tags", GOOGLE_TAGS=let_through)
    for name in on:
        yield _part(name, **dict(_data(name, policy, catalog, is_located=is_located)))


def _part(name: str, **data: object) -> ClientPart:
    texts = {key: json.dumps(value, separators=(",", ":")) for key, value in data.items()}
    return ClientPart((f"{_FOLDER}{name}.js",), texts)


def switched_on(interfaces: Interfaces) -> list[str]:
    """Return the names of the vendors' interfaces that a site uses."""
    return [name for name in ("google", *_VENDORS) if getattr(interfaces, name)]


def _data(name: str, policy: Policy, catalog: Catalog, *, is_located: bool) -> Iterator[tuple[str, object]]:
    """Yield what the file of an interface has in it of this site."""

    def specs(vendors: Sequence[str]) -> str:
        """Return those that the site declares, or else all of them."""
        named = [vendor.id for vendor in policy.vendors if vendor.id in vendors] or vendors
        return " ".join(_spec(vendor, catalog) for vendor in named if vendor in catalog.vendors)

    if name == "google":
        settings = ("ads_data_redaction", "url_passthrough")
        yield (
            "GOOGLE",
            [
                [" ".join(_AD_SIGNALS), specs(_GOOGLE_ADS)],
                [" ".join(_ANALYTICS_SIGNALS), specs(_GOOGLE_ANALYTICS)],
                ["functionality_storage personalization_storage", "f"],
            ],
        )
        yield "REGIONS", [] if is_located or policy.regime is Regime.OPT_IN else _opt_in_regions()
        yield "GOOGLE_SETTINGS", [s for s in settings if getattr(policy.interfaces, f"google_{s}")]
        return
    own = specs([_VENDORS[name]])
    if name == "hubspot":
        yield (
            "HUBSPOT",
            [["analytics", f"p {own}"], ["advertisement", f"t {own}"], ["functionality", f"f {own}"]],
        )
        return
    if name == "clarity":
        yield "CLARITY_ADS", f"{specs(['microsoft-advertising'])} {own}"
    yield name.removeprefix("microsoft_").upper(), own


def _spec(vendor: str, catalog: Catalog) -> str:
    """Return a vendor as the guard names it: with the first letter of its category."""
    return catalog.vendors[vendor].category[0] + vendor


def _opt_in_regions() -> list[str]:
    """Return the codes (ISO 3166-2) of the places in which nothing optional is allowed without consent."""
    return sorted(
        place
        for rule in place_rules()
        if rule.treatment.regime is Regime.OPT_IN
        for place in rule.places
        if place != "EU"  # its members are there, too
    )
