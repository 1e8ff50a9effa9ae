"""The developers' panel at the end of a page: what was done about the response, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jinja2 import Template

from consent.categories import OPTIONAL, Category
from consent.decision import Decision, Reason
from consent.enforcement import Action, Finding
from consent.texts import Texts

MAX_EXPLAINED = 100
"""Findings listed per group; the rest are only counted."""


class Panel:
    """Renders it, in one language.

    Args:
        template: ``explanation.html``, in the language of ``texts``.
        names: what the categories are called.
        inline: ... the optional ones, within a sentence.
    """

    def __init__(
        self,
        texts: Texts,
        template: Template,
        *,
        names: Mapping[Category, str],
        inline: Mapping[Category, str],
    ) -> None:
        self._texts = texts
        self._template = template
        self._names = names
        self._inline = inline

    def markup(self, decision: Decision, findings: Sequence[Finding]) -> bytes:
        """Return it for one response: what was withheld, let through and not known, and why."""
        texts = self._texts
        withheld = [finding for finding in findings if finding.action is not Action.ALLOWED]
        left = [finding for finding in findings if finding.action is Action.ALLOWED]
        unclassified = [finding for finding in left if finding.vendor is None]
        passed = [finding for finding in left if finding.vendor is not None]
        signals = [
            texts[key]
            for key, sent in (("explain_gpc", decision.signals.gpc), ("explain_dnt", decision.signals.dnt))
            if sent
        ]
        footer = [
            *(signals or [texts["explain_no_signal"]]),
            texts.fill("explain_policy", version=decision.policy_version),
            texts["explain_developer"],
        ]
        page = self._template.render(
            summary=texts.fill(
                "explain_summary",
                withheld=len(withheld),
                passed=len(passed),
                unclassified=len(unclassified),
            ),
            categories=[
                {
                    "title": self._names[category],
                    "allowed": decision.allows(category),
                    "why": self._why(decision.reason(category), category),
                }
                for category in OPTIONAL
            ],
            groups=[
                self._group("explain_withheld", withheld, decision),
                self._group("explain_passed", passed, decision),
                self._group(
                    "explain_unclassified", unclassified, decision, about="explain_unclassified_about"
                ),
            ],
            footer=". ".join(footer),
        )
        return page.encode("utf-8", "replace")

    def _group(
        self, title: str, findings: Sequence[Finding], decision: Decision, *, about: str = ""
    ) -> dict[str, object]:
        more = len(findings) - MAX_EXPLAINED
        return {
            "title": self._texts[title],
            "about": self._texts[about] if about else "",
            "count": len(findings),
            "more": self._texts.fill("explain_more", count=more) if more > 0 else "",
            "entries": [
                {
                    "vendor": finding.vendor.name if finding.vendor else "",
                    "kind": finding.kind,
                    "subject": finding.subject,
                    "why": self._why_found(finding, decision),
                }
                for finding in findings[:MAX_EXPLAINED]
            ],
        }

    def _why_found(self, finding: Finding, decision: Decision) -> str:
        vendor = finding.vendor
        if vendor is None or finding.reason is None:
            return ""
        if finding.reason is Reason.LET_THROUGH:
            return self._texts["let_through"]
        exception = decision.vendors.get(vendor.id)
        by_exception = exception is (finding.action is Action.ALLOWED)
        if by_exception and finding.reason in (Reason.GRANTED, Reason.REFUSED):
            why = self._texts["why_vendor_on" if exception else "why_vendor_off"]
        else:
            why = self._why(finding.reason, vendor.category)
        return self._texts.fill(
            "passed_because" if finding.action is Action.ALLOWED else "withheld_because", why=why
        )

    def _why(self, reason: Reason, category: Category) -> str:
        name = self._inline.get(category, self._names[category])
        return self._texts.fill(f"why_{reason.value.replace('-', '_')}", category=name)
