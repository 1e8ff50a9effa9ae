"""The vendors of a folder in one file that is read many times faster than TOML.

The build of the package writes the file beside the built-in vendors, from the same sources and after the same
checks; an editable checkout has none and reads the TOML. Nothing is checked again that was checked then.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from consent.catalog.matching import Catalog
from consent.catalog.model import Cookie, InlineSignature, StorageKey, Vendor
from consent.catalog.signatures import Signature, compile_signature
from consent.categories import Category

FILE = "vendors.json"


def pack(vendors: Iterable[Vendor]) -> bytes:
    """Return ``vendors``, which a `Catalog` was made of, as the content of such a file."""
    rows = [
        [
            [vendor.id, vendor.name, vendor.company, vendor.country, vendor.privacy_url, vendor.opt_out_url],
            [vendor.category, vendor.about, vendor.hosts, vendor.urls],
            [[inline.pattern, inline.example, inline.benign] for inline in vendor.inline],
            [[c.name, c.purpose, c.lifetime, c.party, c.http_only] for c in vendor.cookies],
            [[item.key, item.area, item.purpose] for item in vendor.storage],
            [
                [signature.words, signature.followers.hex()]
                for signature in (compile_signature(inline.pattern) for inline in vendor.inline)
            ],
        ]
        for vendor in vendors
    ]
    return json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode()


def read_packed(file: Path) -> Catalog:
    """Return the catalog of a file that `pack` made."""
    # Some 40,000 objects are made of which none is garbage: looking for garbage takes longer than the reading.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return _catalog(json.loads(file.read_bytes()))
    finally:
        if collecting:
            gc.enable()


def _catalog(rows: list[Any]) -> Catalog:
    categories = {str(category): category for category in Category}
    vendors: list[Vendor] = []
    signatures: dict[str, Signature] = {}
    for identity, (category, about, hosts, urls), inline, cookies, storage, found in rows:
        vendor_id, name, company, country, privacy_url, opt_out_url = identity
        vendors.append(
            Vendor(
                id=vendor_id,
                name=name,
                company=company,
                country=country,
                privacy_url=privacy_url,
                category=categories[category],
                about=about,
                hosts=tuple(hosts),
                urls=tuple(urls),
                inline=tuple(
                    [
                        InlineSignature(pattern=pattern, example=example, benign=tuple(benign))
                        for pattern, example, benign in inline
                    ]
                ),
                cookies=tuple(
                    [
                        Cookie(name=key, purpose=purpose, lifetime=lifetime, party=party, http_only=http_only)
                        for key, purpose, lifetime, party, http_only in cookies
                    ]
                ),
                storage=tuple(
                    [StorageKey(key=key, area=area, purpose=purpose) for key, area, purpose in storage]
                ),
                opt_out_url=opt_out_url,
            )
        )
        for (pattern, _, _), (words, followers) in zip(inline, found, strict=True):
            signatures[pattern] = Signature(pattern, tuple(words), bytes.fromhex(followers))
    return Catalog(vendors, signatures=signatures)
