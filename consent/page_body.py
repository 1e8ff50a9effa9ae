"""The body of a page: what is done to it, and what is put in."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from markupsafe import escape

from consent import headers as fields
from consent.categories import OPTIONAL
from consent.enforcement import Action, PageEnforcement
from consent.html import Rewriter, Withholding, XMLRewriter
from consent.insertion import BodyEndInsertion
from consent.placeholder import PagePlaceholders
from consent.policy import Refused
from consent.request import Request
from consent.streams import PASSED, Stream

_AUTHORITY = re.compile(rb"[A-Za-z0-9.:\[\]-]{1,255}")
_LOCAL_URL = re.compile(rb'(?<=\s)(href|action|formaction|src)="/(?![/\\])')
_XML_TYPES = fields.XML_TYPES | fields.DATA_TYPES


@dataclass(slots=True, kw_only=True)
class PageBody:
    """What one visitor gets of one page."""

    request: Request
    judge: Callable[[], PageEnforcement]
    """Returns what judges the page; it is made when it is first asked for."""
    kind: bytes
    """The page's media type."""
    nonce: str | None
    """The one of the page's own Content-Security-Policy."""
    is_utf8: bool
    """Whether the page says that it is in UTF-8; else it may be in anything."""
    is_framed: bool
    is_fragment: bool
    """Whether it may be a piece of a page."""
    tells_missing: bool
    """Whether another page would have what this one lacks, once it is allowed."""
    _placeholders: PagePlaceholders | None = None

    def stream(self) -> Stream:
        """Return what does to the decoded page what this visitor's decision asks for."""
        request = self.request
        site = request.site
        framed = self.kind in _XML_TYPES or self.is_framed
        fragment = self.kind in fields.FRAGMENT_TYPES or self.is_fragment
        if request.ruling.allows_everything and not site.explain and not request.reports:
            if framed:
                return PASSED
            if not fragment:
                return BodyEndInsertion(
                    lambda has_base: _anchored(request.host, self._unread_insertion(), has_base)
                )
        if self.kind in _XML_TYPES:
            return XMLRewriter(self.judge())
        page = self.judge()
        page.begin_body()
        if site.placeholders is not None and not framed:
            self._placeholders = PagePlaceholders(
                site.placeholders,
                request.ruling.decision,
                nonce=self.nonce,
                anchored=lambda markup: _anchored(request.host, markup, page.leads_away),
                language=lambda: request.language,
            )
        return Rewriter(
            page,
            withholding=Withholding(page, hold=site.refused is Refused.HOLD, placeholder=self._placeholders),
            at_head_start=self._head,
            before_running=self._guard_tag if self._defers else None,
            at_body_end=None
            if framed
            else lambda: _anchored(request.host, self._insertion(page), page.leads_away),
            fragment=fragment,
        )

    def _head(self) -> bytes:
        return self.request.site.head(self.request.ruling.decision, nonce=self.nonce, defer=self._defers)

    @property
    def _defers(self) -> bool:
        """Whether the guard may run later in this page.

        In a frame a script of another page could run before it: a page that has come in part is within its reach.
        """
        return self.request.site.defers_guard and self.request.destination == b"document"

    def _guard_tag(self) -> bytes:
        return self.request.site.guard_tag(self.request.ruling.decision, nonce=self.nonce)

    def _unread_insertion(self) -> bytes:
        if self.nonce is None:
            return self._fit(self._address().join(self.request.edition.unread))
        return self._fit(self._guard_tag() + self._banner())

    def _insertion(self, page: PageEnforcement) -> bytes:
        request = self.request
        decision = request.ruling.decision
        pieces = [self._banner()]
        if self._placeholders is not None:
            pieces.append(self._placeholders.form(request.target))
        if missing := self._missing(page):
            # With what is held in the page, the client does without a new page. This here needs one.
            names = " ".join(sorted(missing))
            pieces.append(f'<template class="consent-missing" data-consent="{names}"></template>'.encode())
        if request.site.explain:
            banner = request.site.banner.in_language(request.language)
            pieces.append(banner.explanation(decision, page.findings))
        if request.reports:
            pieces.append(_report(page))
        return self._fit(b"".join(pieces))

    def _banner(self) -> bytes:
        request = self.request
        if self.nonce is None:
            return self._address().join(request.edition.last)
        banner = request.site.banner.in_language(request.language)
        return banner.markup(request.ruling.decision, return_to=request.target, nonce=self.nonce)

    def _address(self) -> bytes:
        return escape(self.request.target).encode("utf-8", "replace")

    def _fit(self, markup: bytes) -> bytes:
        """Return what is inserted in ASCII where the page may not be in UTF-8."""
        if self.is_utf8 or markup.isascii():
            return markup
        return markup.decode().encode("ascii", "xmlcharrefreplace")

    def _missing(self, page: PageEnforcement) -> frozenset[str]:
        """Return what needs a new page when it is allowed, though this one holds something."""
        if not self.tells_missing:
            return frozenset()
        csp = self.request.site.csp
        if csp is None or not csp.is_final:
            return page.missing
        there = (Action.ALLOWED, Action.STRIPPED)
        held = {
            f"{f.vendor.category}/{f.vendor.id}" for f in page.findings if f.vendor and f.action not in there
        }
        # A policy stays that of its page: what is held here, and what it loads, would be stopped.
        refused = [c for c in OPTIONAL if held and not self.request.ruling.decision.allows(c)]
        return page.missing.union(held, refused)


def _anchored(host: bytes, markup: bytes, leads_away: bool) -> bytes:
    """Return what is inserted so that a ``<base>`` does not send the visitor's choice to another host."""
    if not leads_away or not _AUTHORITY.fullmatch(host):
        return markup
    return _LOCAL_URL.sub(rb'\1="//%b/' % host, markup)


def _report(page: PageEnforcement) -> bytes:
    findings: list[dict[str, Any]] = [
        {
            "action": finding.action.value,
            "kind": finding.kind,
            "subject": finding.subject,
            "vendor": finding.vendor.id if finding.vendor else None,
            "name": finding.vendor.name if finding.vendor else None,
            "category": finding.vendor.category.value if finding.vendor else None,
            "reason": finding.reason.value if finding.reason else None,
        }
        for finding in page.findings
    ]
    withheld = sum(finding.action is not Action.ALLOWED for finding in page.findings)
    text = json.dumps({"withheld": withheld, "uncounted": page.uncounted, "findings": findings})
    # "<" inside a script element could end it.
    safe = text.replace("<", "\\u003c")
    return f'<script type="application/json" id="consent-report">{safe}</script>'.encode()
