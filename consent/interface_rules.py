"""Which vendors' consent interfaces a site uses: the values, and what they may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum

from consent.policy_rules import Wrong, a_flag, a_line, kind_of, listed, suggestion


class GoogleMode(StrEnum):
    """What Google's tag does while it is refused."""

    BASIC = "basic"
    """It is not in the page."""
    ADVANCED = "advanced"
    """It loads, and sends what needs no cookies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interfaces:
    """The vendors that are told, each in its own words, what a visitor allows; none by default."""

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


NO_INTERFACES = Interfaces()


def a_google_mode(value: object) -> GoogleMode:
    """Return how Google's consent mode is used.

    Raises:
        Wrong: it is no mode.
    """
    if value is True:
        raise Wrong(f"must be one of {listed(GoogleMode)}: which of the two is for you to say")
    name = a_line(value)
    try:
        return GoogleMode(name)
    except ValueError:
        raise Wrong(f"must be one of {listed(GoogleMode)}") from None


INTERFACE_RULES: Mapping[str, Callable[[object], object]] = {
    each.name: a_google_mode if each.name == "google" else a_flag for each in fields(Interfaces)
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
        raise Wrong(f'"{settings[0]}" is nothing without "google": add it, or remove this')
    return Interfaces(**found)  # type: ignore[arg-type]
