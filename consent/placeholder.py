"""What offers a refused embed in its place: says whose it is and what showing it sends, shows it once or always.

Rendered once for each vendor; an embed only fills in its size, its address and itself.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from markupsafe import Markup, escape

from consent.banner import Banner, Shown
from consent.catalog import Catalog, Vendor
from consent.categories import Category
from consent.decision import Decision, Reason
from consent.html.embeds import address, layout, size
from consent.html.tokenizer import Tag

_SIGNALS = (Reason.GPC, Reason.DNT)
_MAX_MEMO = 2048
"""Placeholders that are remembered, some 3 kB each."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """What the text of a placeholder depends on."""

    vendor: str
    always: bool
    """Whether it offers to allow the vendor always: not where a browser signal would overrule that."""
    linked: bool
    """Whether it links to the embed's own page."""
    language: str


class Placeholders:
    """Makes the placeholders of one site. Safe to share between threads.

    Args:
        catalog: what is known about vendors.
        banner: where the texts, templates and addresses are.
        once: whether an embed can be shown without a choice: by the guard, where no policy of the page stops it.

    Raises:
        ConfigurationError: the template is wrong.
    """

    def __init__(self, catalog: Catalog, banner: Banner, *, once: bool) -> None:
        self._catalog = catalog
        self._banner = banner
        self._once = once
        # Unguessable, so that no text or name can contain what is replaced for each embed.
        self._marks = {
            name: secrets.token_hex(16) for name in ("classes", "attributes", "size", "link", "original")
        }
        self._cut = re.compile("|".join(self._marks.values()))
        self._memo: dict[_Kind, tuple[tuple[bytes, ...], tuple[str, ...]]] = {}
        self._shown: dict[_Kind, Shown] = {}
        # A mistake in a site's own template is to stop the start, and other texts make other pages.
        sample = next(vendor for vendor in catalog.vendors.values() if vendor.category is Category.FUNCTIONAL)
        kind = _Kind(sample.id, always=True, linked=True, language=banner.language)
        self.version = self._shown_as(kind).hash
        """Names the wording: pages with other placeholders have another version of them."""
        self.form("", banner.language)

    def shown_by_hash(self, digest: str, vendor: str, language: str) -> Shown | None:
        """Return the text that a placeholder of ``vendor`` in ``language`` names as ``digest``; ``None``: no such."""
        if self._offered(vendor) is None:
            return None
        for linked in (True, False):
            shown = self._shown_as(_Kind(vendor, always=True, linked=linked, language=language))
            if shown.hash == digest:
                return shown
        return None

    def stylesheet(self, nonce: str | None) -> bytes:
        """Return the link to the stylesheet; ``nonce`` is the page's CSP nonce."""
        nonce_attribute = f' nonce="{escape(nonce)}"' if nonce else ""
        url = escape(self._banner.stylesheet_url)
        return _ascii(f'<link rel="stylesheet" href="{url}"{nonce_attribute}>')

    def form(self, return_to: str, language: str) -> bytes:
        """Return what the buttons of a page's placeholders send, to put at its end.

        Args:
            return_to: path and query of the page itself.
            language: the one that the placeholders are in.
        """
        form = self._banner.in_language(language).template("embed_form.html")
        return _ascii(form.render(return_to=return_to))

    def markup(self, decision: Decision, tag: Tag, element: bytes, vendor_id: str, language: str) -> bytes:
        """Return what takes the place of a refused embed; empty where there is nothing to offer.

        Args:
            decision: the decision for this request.
            tag: the embed's start tag.
            element: all of it, as it is in the page.
            vendor_id: who refuses it.
            language: what it is to be offered in, one of the site's.
        """
        vendor = self._offered(vendor_id)
        if vendor is None:
            return b""
        url = address(tag)
        always = decision.reason(vendor.category) not in _SIGNALS
        kind = _Kind(vendor_id, always=always, linked=bool(url), language=language)
        parts, names = self._parts(kind)
        values = {
            **{name: _ascii(value) for name, value in _shape(tag).items()},
            "link": _ascii(self._link(vendor, url, language)) if url else b"",
            "original": element,
        }
        filled = [parts[0]]
        for name, part in zip(names, parts[1:], strict=True):
            filled += values[name], part
        return b"".join(filled)

    def _offered(self, vendor: str) -> Vendor | None:
        """Return the vendor if there is something to offer: what visitors want to see, not what watches them.

        Of what a public list names nobody could be told who it is.
        """
        known = self._catalog.vendors.get(vendor)
        if known is None or known.listed_by:
            return None
        return known if known.category is Category.FUNCTIONAL else None

    def _link(self, vendor: Vendor, url: str, language: str) -> str:
        text = self._banner.in_language(language).texts.fill("embed_open", vendor=vendor.name)
        return f'<a href="{escape(url)}" rel="noopener noreferrer nofollow">{escape(text)}</a>'

    def _parts(self, kind: _Kind) -> tuple[tuple[bytes, ...], tuple[str, ...]]:
        found = self._memo.get(kind)
        if found is None:
            markup = self._render(kind, self._shown_as(kind).hash, self._marks)
            names = {mark: name for name, mark in self._marks.items()}
            if len(self._memo) >= _MAX_MEMO:
                self._memo.clear()
            found = self._memo[kind] = (
                tuple(_ascii(part) for part in self._cut.split(markup)),
                tuple(names[mark] for mark in self._cut.findall(markup)),
            )
        return found

    def _shown_as(self, kind: _Kind) -> Shown:
        """Return the text of a placeholder as evidence, without what is one embed's own."""
        shown = self._shown.get(kind)
        if shown is None:
            link = self._link(self._catalog.vendors[kind.vendor], "", kind.language) if kind.linked else ""
            values = dict.fromkeys(self._marks, "") | {"link": Markup(link)}  # noqa: S704 - escaped
            content = self._render(kind, "", values).encode()
            if len(self._shown) >= _MAX_MEMO:
                self._shown.clear()
            shown = self._shown[kind] = Shown(
                hash=sha256(content).hexdigest(), media_type="text/html; charset=utf-8", content=content
            )
        return shown

    def _render(self, kind: _Kind, shown: str, values: dict[str, str]) -> str:
        vendor = self._catalog.vendors[kind.vendor]
        banner = self._banner.in_language(kind.language)
        texts = banner.texts
        company = vendor.company
        if vendor.country:
            country = texts.country(vendor.country)
            company = texts.fill("company_country", company=company, country=country)
        return banner.template("placeholder.html").render(
            values,
            vendor=vendor,
            company=company,
            title=texts.fill("embed_title", vendor=vendor.name),
            spec=f"{vendor.category}/{vendor.id}",
            once=self._once,
            always=kind.always,
            shown=shown,
        )


class PagePlaceholders:
    """Makes the placeholders of one page: a `consent.html.withholding.Placeholder`.

    Args:
        placeholders: those of the site.
        decision: the decision for this request.
        nonce: the page's CSP nonce.
        anchored: keeps addresses on this site where the page has a base elsewhere.
        language: returns the visitor's, one of the site's; asked where there is something to offer.
    """

    def __init__(
        self,
        placeholders: Placeholders,
        decision: Decision,
        *,
        nonce: str | None,
        anchored: Callable[[bytes], bytes],
        language: Callable[[], str],
    ) -> None:
        self._placeholders = placeholders
        self._decision = decision
        self._nonce = nonce
        self._anchored = anchored
        self._language = language
        self._any = False

    def __call__(self, tag: Tag, element: bytes, refused_by: str) -> bytes:
        vendor = refused_by.partition("/")[2]
        made = self._placeholders.markup(self._decision, tag, element, vendor, self._language())
        if made and not self._any:
            # The stylesheet comes with the first, so that none is seen without it.
            self._any = True
            return self._anchored(self._placeholders.stylesheet(self._nonce)) + made
        return made

    def form(self, return_to: str) -> bytes:
        """Return what the page's placeholders need at its end; nothing where there is none."""
        return self._placeholders.form(return_to, self._language()) if self._any else b""


def _shape(tag: Tag) -> dict[str, str]:
    """Return what gives a placeholder the place and the size of its embed."""
    kept = layout(tag)
    width, height = size(tag)
    classes = kept.pop("class", "")
    attributes = "".join(f' {name}="{escape(value)}"' for name, value in kept.items())
    if not width.isdecimal() and "width:" not in kept.get("style", ""):
        attributes += " data-wide"
    # What the drawing does not give comes from the style, or from the text.
    width, height = (length if length.isdecimal() else "1" for length in (width, height))
    return {
        "classes": f" {escape(classes)}" if classes else "",
        "attributes": attributes,
        "size": f' width="{width}" height="{height}"',
    }


def _ascii(markup: str) -> bytes:
    """Return markup for a page in whatever encoding."""
    return markup.encode("ascii", "xmlcharrefreplace")
