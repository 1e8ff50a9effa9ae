"""What one vendor is, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from consent.categories import Category

Party = Literal["first", "third"]
Area = Literal["local", "session", "indexeddb"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cookie:
    """One cookie a vendor sets. The purpose and the lifetime are written for visitors."""

    name: str
    """The exact name, or one with a single ``*`` after at least three literal characters."""
    purpose: str
    lifetime: str
    """In words: ``"2 years"``, ``"24 hours"``, ``"session"``."""
    party: Party
    """``first``: kept under the site's own domain, so this server can see and expire it. ``third``: not."""
    http_only: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageKey:
    """One key a vendor writes to the browser's storage under the site's own origin."""

    key: str
    """Exact or with one ``*``, as for `Cookie.name`."""
    area: Area
    purpose: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineSignature:
    """How a vendor's snippet is recognised inside an inline script: see `consent.catalog.signatures`."""

    pattern: str
    example: str
    """A minimal snippet that it must match."""
    benign: tuple[str, ...]
    """Look-alikes that it must not match."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """One product of one company, with exactly one category."""

    id: str
    name: str
    company: str
    country: str
    """Where the company is established: ISO 3166-1 alpha-2."""
    privacy_url: str
    category: Category
    about: str
    """One plain sentence for visitors: what the site uses it for."""
    hosts: tuple[str, ...] = ()
    """Each stands for itself and all its subdomains."""
    urls: tuple[str, ...] = ()
    """``host/path`` patterns: see `consent.catalog.matching.UrlPattern`."""
    inline: tuple[InlineSignature, ...] = ()
    cookies: tuple[Cookie, ...] = ()
    storage: tuple[StorageKey, ...] = ()
    opt_out_url: str = ""
    """The vendor's own page to object on; empty: there is none."""
    listed_by: str = ""
    """The public list that names it, which may know neither company nor country nor notice; empty: it is described."""

    @property
    def whose(self) -> str:
        """Say in words whose it is, as far as anybody says: ``of Example Ltd (IE)``, ``named by a public list, …``."""
        place = f" ({self.country})" if self.country else ""
        company = f"of {self.company}{place}" if self.company else ""
        listed = f"named by a public list, {self.listed_by}" if self.listed_by else ""
        return ", ".join(filter(None, (company, listed)))


@dataclass(frozen=True, slots=True)
class Match:
    """A vendor, and the rule that found it, as it is written in the catalog."""

    vendor: Vendor
    rule: str
