"""What scripts of the advertising industry are told of a visitor: ``__gpp``, of the IAB's Global Privacy Platform.

A section of that platform is about one state of the US, or about the US as a whole. All that a page can answer is made
when the app starts: what differs between visitors is whether they opted out and whether their browser sends Global
Privacy Control, and that is on the tag.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from hashlib import sha256
from typing import Any

from markupsafe import escape

from consent.assets import asset_dir
from consent.categories import Category
from consent.decision import Decision
from consent.gpp_string import Parts, Section, encode, sections
from consent.minify import minified_script
from consent.policy import Gpp, GppMspa, Policy, Regime
from consent.static_files import StaticFile

NATIONAL = "usnat"
_OPTED_OUT, _GPC = 1, 2
"""The bits of a state."""
_NOT_APPLICABLE, _YES, _NO = 0, 1, 2
"""Values of the fields about notices and the MSPA."""
_DID_OPT_OUT, _DID_NOT = 1, 2
_NO_CONSENT = 1
_CMP_ID = 1
"""Whoever is none of the registered consent managers."""


def section_at(gpp: Gpp, place: str) -> str:
    """Return the section that visitors in a place are under; empty: none.

    Args:
        gpp: Which sections the site speaks of.
        place: A code as in ISO 3166, such as ``US-CA``; empty where nobody knows.
    """
    if gpp is Gpp.OFF or place.partition("-")[0] != "US":
        return ""
    if gpp is Gpp.BY_STATE:
        for section in sections().values():
            if section.place == place:
                return section.name
    return NATIONAL


def sections_of(gpp: Gpp) -> tuple[str, ...]:
    """Return all that can come of :func:`section_at`."""
    if gpp is Gpp.BY_STATE:
        return ("", *sections())
    return ("", NATIONAL) if gpp is Gpp.NATIONAL else ("",)


def content(
    policy: Policy, mspa: GppMspa, section: str, *, opted_out: bool, gpc: bool
) -> Mapping[str, Parts]:
    """Return what is said of a visitor, for :func:`consent.gpp_string.encode`.

    Args:
        policy: The one that the visitor is under.
        mspa: What the site says of the IAB's agreement.
        section: Its name; empty: none applies.
        opted_out: Whether targeting is refused, by whomever.
        gpc: Whether the browser sends Global Privacy Control.
    """
    if not section:
        return {}
    known = sections()[section]
    values = _values(policy, mspa, opted_out=opted_out)
    core: dict[str, Any] = {known.version_field: known.version}
    for field in known.cores[known.version]:
        value = values.get(field.name, _NOT_APPLICABLE)
        core[field.name] = value if field.size is None else [value] * field.size
    return {section: [core, {"SubsectionType": 1, "Gpc": gpc}] if known.has_gpc else [core]}


def _values(policy: Policy, mspa: GppMspa, *, opted_out: bool) -> Mapping[str, int]:
    """Return the fields that are not always 0: of what is not asked here, nothing is said."""
    notice = _notice(policy)
    if opted_out:
        out = _DID_OPT_OUT
    else:
        # Only who was told how can have decided not to.
        out = _DID_NOT if notice == _YES else _NOT_APPLICABLE
    values = {
        # What is shared with whom, and what for, is in the preferences of every page.
        "SharingNotice": _YES,
        "ProcessingNotice": _YES,
        "KnownChildSensitiveDataConsents": _NO_CONSENT if policy.children else _NOT_APPLICABLE,
        "MspaCoveredTransaction": _NO if mspa is GppMspa.NO else _YES,
    }
    for what in ("Sale", "Sharing", "TargetedAdvertising"):
        values |= {f"{what}OptOutNotice": notice, f"{what}OptOut": out}
    if mspa is not GppMspa.NO:
        is_option = mspa is GppMspa.OPT_OUT_OPTION
        values |= {
            "MspaOptOutOptionMode": _YES if is_option else _NO,
            "MspaServiceProviderMode": _NO if is_option else _YES,
            "MspaMode": 1 if is_option else 2,
        }
    return values


def _notice(policy: Policy) -> int:
    """Tell whether visitors are shown that they can refuse targeting, and how."""
    if Category.TARGETING in policy.never:
        return _NOT_APPLICABLE
    if policy.regime is Regime.OPT_OUT:
        return _YES if Category.TARGETING in policy.opt_out_refuses else _NO
    return _YES if policy.regime is Regime.OPT_IN else _NO


class GppScript:
    """The script that answers ``__gpp`` in the pages of visitors under one section, and its tag.

    Safe to share between threads.

    Args:
        site: The site's policy, which says what scripts are told at all.
        policy: The one that these visitors are under.
        section: Its name; empty: none applies to them, which scripts are told.
        prefix: Where the visitor endpoints are mounted: a path without a trailing slash.
    """

    def __init__(self, site: Policy, policy: Policy, section: str, *, prefix: str = "/_consent") -> None:
        # Of these the visitor is told in the preferences, and may refuse one.
        self._vendors = [vendor.id for vendor in policy.vendors if vendor.category is Category.TARGETING]
        served = script(self._answers(site, policy, section)).encode()
        digest = sha256(served).hexdigest()[:16]
        self.file = StaticFile(
            name=f"gpp.{digest}.js",
            media_type="text/javascript; charset=utf-8",
            content=served,
            etag=f'"{digest}"',
        )
        self.url = f"{prefix}/static/{self.file.name}"
        """Where the script is served, with a hash of its content in the name."""
        self._tags: dict[tuple[int, bool], tuple[bytes, bytes]] = {}

    def _answers(self, site: Policy, policy: Policy, section: str) -> str:
        ids = [sections()[section].id] if section else []
        always = {
            "supportedAPIs": [_api(sections()[name]) for name in sections_of(site.interfaces.gpp) if name],
            "cmpId": _CMP_ID,
            "sectionList": ids,
            "applicableSections": ids or [-1],
        }
        states = []
        for state in range(4):
            opted_out, gpc = bool(state & _OPTED_OUT), bool(state & _GPC)
            said = content(policy, site.interfaces.gpp_mspa, section, opted_out=opted_out, gpc=gpc)
            states.append(_json({"gppString": encode(said), "parsedSections": said}))
        return _json([section, self._vendors, _json(always), states])

    def state(self, decision: Decision) -> int:
        """Return which answers are for a visitor: 1 if they opted out, and 2 more if the browser sends GPC."""
        targeting = Category.TARGETING
        is_allowed = decision.allows(targeting) and all(
            decision.allows(targeting, vendor) for vendor in self._vendors
        )
        return _OPTED_OUT * (not is_allowed) + _GPC * decision.signals.gpc

    def markup(self, decision: Decision, *, nonce: str | None) -> bytes:
        """Return the tag to put behind the guard's.

        Args:
            decision: What this visitor allows.
            nonce: The page's CSP nonce.
        """
        key = self.state(decision), decision.asks
        start, end = self._tags.get(key) or self._tag(*key)
        if nonce is None:
            return start + end
        return b'%s nonce="%s"%s' % (start, str(escape(nonce)).encode("utf-8", "replace"), end)

    def _tag(self, state: int, asks: bool) -> tuple[bytes, bytes]:
        start = f'<script src="{escape(self.url)}" data-state="{state}"' + " data-asks" * asks
        tag = self._tags[state, asks] = start.encode(), b"></script>"
        return tag


def gpp_scripts(
    site: Policy, policy: Policy, sections: Iterable[str], *, prefix: str
) -> Mapping[str, GppScript | None]:
    """Return by section what answers visitors under ``policy``; ``None`` each where the site wants nothing to."""
    return {
        section: None if site.interfaces.gpp is Gpp.OFF else GppScript(site, policy, section, prefix=prefix)
        for section in sections
    }


def script(answers: str) -> str:
    """Return the whole script around ``answers``. Without any it is what the code alone weighs."""
    # What JSON writes for a text is also how JavaScript writes it (ECMAScript 2019).
    return f"if(!window.__gpp?.isHere){{{_code().replace('ANSWERS', json.dumps(answers), 1)}}}\n"


@cache
def _code() -> str:
    return minified_script((asset_dir("static") / "gpp.js").read_text(encoding="utf-8"))


def _api(section: Section) -> str:
    return f"{section.id}:{section.name}"


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
