"""Which consent interfaces a site uses, of vendors and of the whole industry: the values, and what they may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum

from consent.value_rules import Wrong, a_flag, kind_of, listed, one_of, suggestion


class GoogleMode(StrEnum):
    """What Google's tag does while it is refused."""

    BASIC = "basic"
    """It is not in the page."""
    ADVANCED = "advanced"
    """It loads, and sends what needs no cookies."""


class Gpp(StrEnum):
    """Of which sections of the IAB's Global Privacy Platform scripts are told."""

    OFF = "off"
    """Of none: pages have no ``__gpp``."""
    BY_STATE = "by-state"
    """Of that of the visitor's state, and where there is none of that about the whole of the US."""
    NATIONAL = "national"
    """Of that about the whole of the US, wherever in it the visitor is."""


class GppMspa(StrEnum):
    """What the site says of itself and the IAB's Multi-State Privacy Agreement."""

    NO = "no"
    """What it does is not covered by it."""
    OPT_OUT_OPTION = "opt-out-option"
    """It is covered, in the agreement's Opt-Out Option Mode."""
    SERVICE_PROVIDER = "service-provider"
    """It is covered, in the agreement's Service Provider Mode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interfaces:
    """Who is told, each in their own words, what a visitor allows; nobody by default."""

    google: GoogleMode | None = None
    google_ads_data_redaction: bool = True
    """Whether Google is asked to leave out click identifiers where ``ad_storage`` is denied."""
    google_url_passthrough: bool = False
    """Whether Google is to pass click identifiers on in URLs where storage is denied."""
    microsoft_uet: bool = False
    clarity: bool = False
    meta: bool = False
    tiktok: bool = False
    hubspot: bool = False
    matomo: bool = False
    segment: bool = False
    mixpanel: bool = False
    posthog: bool = False
    gpp: Gpp = Gpp.OFF
    """Of which sections of the IAB's Global Privacy Platform scripts are told, by ``__gpp``."""
    gpp_mspa: GppMspa = GppMspa.NO
    """What they are told of the site and the IAB's Multi-State Privacy Agreement."""


_google_mode = one_of(GoogleMode)


def _a_google_mode(value: object) -> object:
    if value is True:
        raise Wrong(f"must be one of {listed(GoogleMode)}: which of the two is for you to say")
    return _google_mode(value)


INTERFACE_RULES: Mapping[str, Callable[[object], object]] = {
    **{each.name: a_flag for each in fields(Interfaces)},
    "google": _a_google_mode,
    "gpp": one_of(Gpp),
    "gpp_mspa": one_of(GppMspa),
}
"""What the value of each key may be."""


def interfaces(value: object) -> Interfaces:
    """Return the interfaces that a table names, or those of a value as they are.

    Raises:
        Wrong: there is no such interface, or its value is none.
    """
    if isinstance(value, Interfaces):
        value = {each.name: v for each in fields(value) if (v := getattr(value, each.name)) != each.default}
    if not isinstance(value, Mapping):
        raise Wrong(f"must be a table, not {kind_of(value)}")
    found = {}
    for key, each in value.items():
        if key not in INTERFACE_RULES:
            raise Wrong(f'there is no interface "{key}": {suggestion(str(key), INTERFACE_RULES)}')
        try:
            found[key] = INTERFACE_RULES[key](each)
        except Wrong as error:
            raise Wrong(f'"{key}" {error}') from None
    settings = [key for key in found if key.startswith("google_")]
    if settings and "google" not in found:
        raise Wrong(f'"{settings[0]}" is nothing without "google": add it, or remove this', settings[0])
    if found.get("gpp_mspa", GppMspa.NO) is not GppMspa.NO and found.get("gpp", Gpp.OFF) is Gpp.OFF:
        raise Wrong(
            f'"gpp_mspa" is nothing without "gpp": set that to "{Gpp.BY_STATE}" or "{Gpp.NATIONAL}"',
            "gpp_mspa",
        )
    return Interfaces(**found)  # type: ignore[arg-type]
