"""The cookie declaration for a site's own templates: ``{{ cookie_declaration(request) }}``."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from markupsafe import Markup
from starlette.requests import HTTPConnection

from consent import headers as fields
from consent.inventory import Source
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
        self._banner = settings.banner
        self._made: dict[str, Markup] = {}  # by language: there are no more than are offered
        self._seen = []
        if settings.policy.declare_seen:
            sightings = SQLiteInventory(settings.folder.inventory_path).sightings()
            seen = {
                s.vendor for s in sightings if s.source is Source.RESPONSE
            } & settings.catalog.vendors.keys()
            self._seen = [settings.catalog.vendors[vendor] for vendor in seen]

    def __call__(
        self, request: HTTPConnection | None = None, *, language: str = "", nonce: str = ""
    ) -> Markup:
        """Return the markup, a ``section`` with its stylesheets.

        Args:
            request: The request for the page, which says what language the visitor is spoken to in.
            language: Tag of one of the site's languages, instead. With neither, it is the site's default.
            nonce: The page's CSP nonce, for the stylesheets.
        """
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
