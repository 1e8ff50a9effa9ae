"""The cookie declaration for a site's own templates: ``{{ cookie_declaration(request) }}``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup
from starlette.requests import HTTPConnection

from consent import headers as fields
from consent.html.urls import PageURL
from consent.inventory import Sighting, Source
from consent.parts import is_section, name_of, part_at
from consent.policy import Policy
from consent.settings import Settings
from consent.sqlite_inventory import SQLiteInventory


class CookieDeclaration:
    """Writes the cookie declaration into a page of the site: a global for Jinja templates, or for any others.

    It says the same as the page that the middleware answers, and takes the same settings. Everything is read when it
    is made; undeclared vendors, if the policy lists them, are those that had been seen by then. Safe to share between
    threads.

    Args:
        policy, data, templates, prefix, clock: As for :class:`consent.ConsentMiddleware`.

    Raises:
        ConfigurationError: a setting, the policy file or the data folder is wrong.
        StoreUnavailable: undeclared vendors are to be listed, and the inventory cannot be read.
    """

    def __init__(
        self,
        *,
        policy: Policy | str | Path | None = None,
        data: str | Path | None = None,
        templates: str | Path | None = None,
        prefix: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        settings = Settings(policy=policy, data=data, templates=templates, prefix=prefix, clock=clock)
        self._policy, self._catalog = settings.policy, settings.catalog
        sites = {"": settings} | {
            name_of(rule): settings.under(rule)
            for rule in settings.policy.rules
            if not is_section(settings.policy, settings.catalog, rule)
        }
        sightings: Iterable[Sighting] = ()
        if any(site.policy.declare_seen for site in sites.values()):
            sightings = SQLiteInventory(settings.folder.inventory_path).sightings()
        self._of = {name: _Declared(name, site, sightings) for name, site in sites.items()}

    def __call__(
        self, request: HTTPConnection | None = None, *, language: str = "", nonce: str = ""
    ) -> Markup:
        """Return the markup, a ``section`` with its stylesheets.

        Args:
            request: The request for the page. Its host says which of the site's policies counts, without one that of
                the hosts that no rule is about; and it says what language the visitor is spoken to in.
            language: Tag of one of the site's languages, instead. With neither, it is the site's default.
            nonce: The page's CSP nonce, for the stylesheets.
        """
        page = PageURL("https", "", "/")
        if request is not None:
            host = fields.first(request.scope["headers"], b"host") or b""
            page = PageURL("https", fields.host_name(host), quote(request.scope["path"]))
        return self._of[part_at(self._policy, self._catalog, page).name].markup(request, language, nonce)


class _Declared:
    """What is declared on those hosts that are told the same."""

    def __init__(self, name: str, site: Settings, sightings: Iterable[Sighting]) -> None:
        self._banner = site.banner
        self._made: dict[str, Markup] = {}  # by language: there are no more than are offered
        self._seen = []
        if site.policy.declare_seen:
            known = site.catalog.vendors
            seen = {s.vendor for s in sightings if s.source is Source.RESPONSE and s.part == name}
            self._seen = [known[vendor] for vendor in seen & known.keys()]

    def markup(self, request: HTTPConnection | None, language: str, nonce: str) -> Markup:
        languages = self._banner.languages
        if language not in languages.offered:
            language = languages.default
            if request is not None:
                asked = b", ".join(fields.lines(request.scope["headers"], b"accept-language"))
                language = languages.choose(request.scope["path"], asked)
        banner = self._banner.in_language(language)
        if nonce:
            return banner.declaration(self._seen, nonce=nonce)
        made = self._made.get(language)
        if made is None:
            made = self._made[language] = banner.declaration(self._seen)
        return made
