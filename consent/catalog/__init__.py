"""What is known about vendors: who they are, what they are for, and how to recognise what they put on a page.

`load_catalog` returns the built-in catalog; `Catalog.with_vendors` adds a site's own, `Catalog.with_lists` what it
imported. The data are the TOML files in ``vendors/``; `parse_vendors` reads the same tables from a site's
``consent.toml``.
"""

from __future__ import annotations

from consent.catalog.lists import CatalogList, read_list
from consent.catalog.loading import load_catalog, parse_vendors
from consent.catalog.matching import Catalog
from consent.catalog.model import Cookie, InlineSignature, Match, StorageKey, Vendor

__all__ = [
    "Catalog",
    "CatalogList",
    "Cookie",
    "InlineSignature",
    "Match",
    "StorageKey",
    "Vendor",
    "load_catalog",
    "parse_vendors",
    "read_list",
]
