"""Google's tag apart from the rest of what Google does: for sites that let it load before anybody agreed.

Google calls that the advanced consent mode. What may load then, and what may be sent, is told by URLs; cookies and
storage stay those of the vendors, and are refused as before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from consent.catalog import Catalog, Vendor

_SUFFIX = "-tag"
_URLS: Mapping[str, tuple[str, ...]] = {
    # The script, and where it sends what it measures: without cookies, where it is told that storage is denied.
    "google-analytics": (
        "googletagmanager.com/gtag/js",
        "googletagmanager.com/gtag/destination",
        "google-analytics.com/g/collect",
        "analytics.google.com/g/collect",
    ),
    "google-ads": (
        "googletagmanager.com/gtag/js?id=AW-*",
        "googletagmanager.com/gtag/destination?id=AW-*",
        # The host that Google names as the one without cookies.
        "pagead2.googlesyndication.com/ccm/collect",
        "pagead2.googlesyndication.com/pagead/conversion/*",
        "pagead2.googlesyndication.com/pagead/viewthroughconversion/*",
    ),
    "google-tag-manager": ("googletagmanager.com/gtm.js",),
}
_SNIPPETS = ("gtag", "push")
"""What the patterns of the tag's own inline snippets begin with."""
LET_THROUGH: Mapping[str, str] = {vendor: vendor + _SUFFIX for vendor in _URLS}
"""The ids of the tags by those of the vendors whose they are."""


def with_google_tag(catalog: Catalog) -> Catalog:
    """Return a catalog in which Google's tag is a vendor of its own, in the category of the one whose it is."""
    return catalog.with_vendors(_parted(catalog))


def _parted(catalog: Catalog) -> Iterator[Vendor]:
    for name, urls in _URLS.items():
        vendor = catalog.vendors.get(name)
        if vendor is None:
            continue
        snippets = tuple(each for each in vendor.inline if each.pattern.startswith(_SNIPPETS))
        yield replace(
            vendor,
            urls=tuple(url for url in vendor.urls if url not in urls),
            inline=tuple(each for each in vendor.inline if each not in snippets),
        )
        yield replace(
            vendor,
            id=LET_THROUGH[name],
            name=f"{vendor.name} (tag)",
            hosts=(),
            urls=urls,
            inline=snippets,
            cookies=(),
            storage=(),
        )
