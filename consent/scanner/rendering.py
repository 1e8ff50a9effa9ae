"""A report for people, as one HTML file, and for programs, as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from consent.categories import OPTIONAL, Category
from consent.scanner.judging import Evidence, Finding, Report
from consent.scanner.proposals import counted, lifetime, propose
from consent.scanner.recording import Phase
from consent.scanner.robots import PRODUCT
from consent.templates import Templates, template_in

MAX_ROWS = 500
"""Rows of one table; the JSON has all."""
_MAX_NAMED = 5
PHASES: Mapping[Phase, str] = {
    Phase.BEFORE: "before a choice",
    Phase.REFUSED: "after a refusal",
    Phase.ACCEPTED: "after consent",
}
CATEGORIES: Mapping[Category, str] = {
    Category.STRICTLY_NECESSARY: "Strictly necessary",
    Category.PERFORMANCE: "Performance",
    Category.FUNCTIONAL: "Functional",
    Category.TARGETING: "Targeting",
}
TECHNIQUES: Mapping[str, str] = {
    "canvas": "reads back what it drew",
    "webgl": "asks about the graphics card",
    "audio": "computes sound",
    "fonts": "measures text",
    "plugins": "lists plug-ins",
    "device": "asks about the device",
    "webrtc": "opens a peer connection",
}


def shown(text: object, limit: int = 160) -> str:
    """Return what a site sends as it may be shown: bounded, and nothing in it that moves or hides other words."""
    clean = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text)[: limit + 1])
    return clean if len(clean) <= limit else clean[:limit] + "…"


def verdict(report: Report) -> str:
    """Say in one sentence what it comes to."""
    trackers = {finding.vendor.id for finding in report.leaks if finding.vendor}
    others = {finding.host for finding in report.leaks if not finding.vendor}
    if report.leaks:
        found = [counted(len(trackers), "tracker")] if trackers else []
        if others:
            found.append(counted(len(others), "unexplained third party", "unexplained third parties"))
        return (
            f"{' and '.join(found)} {'acts' if len(trackers) + len(others) == 1 else 'act'} without consent"
        )
    if Phase.REFUSED in report.phases:
        return "No tracker acted without consent"
    return "No tracker acted before a choice"


def over_phases(findings: Iterable[Finding]) -> list[tuple[Finding, str]]:
    """Return each thing once, with all its pages, and with the phases in which it was alike, in words."""
    found: dict[object, tuple[Finding, dict[Phase, None]]] = {}
    for finding in findings:
        key = (
            finding.vendor and finding.vendor.id,
            finding.host,
            finding.kind,
            finding.subject,
            finding.leaks,
        )
        first, phases = found.get(key, (finding, {}))
        phases[finding.phase] = None
        pages = tuple(dict.fromkeys((*first.pages, *finding.pages)))
        found[key] = replace(first, pages=pages), phases
    return [(finding, when(phases)) for finding, phases in found.values()]


def when(phases: Iterable[Phase]) -> str:
    """Say in words in which phases something was."""
    met = {*phases}
    return (
        "always" if len(met) == len(Phase) else " and ".join(PHASES[phase] for phase in Phase if phase in met)
    )


def summary(report: Report) -> list[str]:
    """Say what was found, in sentences for people who read no further."""
    count = len(report.recording.phases[0].visits)
    phases = listed([PHASES[phase] for phase in report.phases])
    opened = counted(count, "page of the site was", "pages of the site were")
    found = [f"{opened} opened in a real browser: {phases}."]
    leaking = [evidence for evidence in report.vendors if evidence.leaks]
    found += [_without_consent(e, told=not report.with_policy or e.declared) for e in leaking[:_MAX_NAMED]]
    if len(leaking) > _MAX_NAMED:
        found.append(f"The same goes for {counted(len(leaking) - _MAX_NAMED, 'more tracker')}.")
    waited = [evidence for evidence in report.trackers if not evidence.leaks]
    if waited and Phase.ACCEPTED in report.phases:
        found.append(f"{counted(len(waited), 'tracker')} waited for consent.")
    others = [e.vendor for e in waited if report.with_policy and not e.declared]
    for vendors, remedy in (
        ([each for each in others if not each.listed_by], 'add to "declare" in the policy'),
        ([each for each in others if each.listed_by], "describe it in a [[vendor]] table of the policy"),
    ):
        if vendors:
            names = listed([each.name for each in vendors])
            found.append(f"Visitors are not told of {names}: {remedy}, or take out.")
    if hosts := list(dict.fromkeys(shown(finding.host, 60) for finding in report.unclassified)):
        found.append(
            f"Nobody has explained {listed(hosts)}: find out who that is, and describe it in the policy."
        )
    else:
        found.append("Every third party is known.")
    if report.unknown_own:
        own = counted(len(report.unknown_own), "cookie or key", "cookies and keys")
        found.append(f"{own} of the site itself: no policy tells visitors what for.")
    if scripts := list(dict.fromkeys(shown(f.script, 60) for f in report.fingerprinting if f.likely)):
        found.append(f"Scripts that look like fingerprinting: {listed(scripts)}.")
    return found


def _without_consent(evidence: Evidence, *, told: bool) -> str:
    leaks = [finding for finding in evidence.findings if finding.leaks]
    pages = listed([shown(page, 60) for page in dict.fromkeys(page for leak in leaks for page in leak.pages)])
    phases = when(leak.phase for leak in leaks)
    return (
        f"{evidence.vendor.name} was at work {phases}, on {pages}: take it out, or keep it back until visitors agree."
        + ("" if told else " Nor are visitors told of it.")
    )


def listed(names: Sequence[str]) -> str:
    """Write names one after the other, and no more of them than anybody reads."""
    if len(names) > _MAX_NAMED:
        names = [*names[: _MAX_NAMED - 1], f"{len(names) - _MAX_NAMED + 1} more"]
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def html_report(report: Report) -> str:
    """Return the report as one file: no script, nothing loaded, everything from the site escaped and bounded."""
    environment = Templates(None).environment(
        {
            "shown": shown,
            "counted": counted,
            "over_phases": over_phases,
            "lifetime": lifetime,
            "phase_names": PHASES,
            "category_names": CATEGORIES,
            "technique_names": TECHNIQUES,
            "optional": OPTIONAL,
            "max_rows": MAX_ROWS,
            "product": PRODUCT,
            "version": version("asgi-consent"),
        }
    )
    counts = {
        phase: {
            category: sum(e.vendor.category is category and e.seen_in(phase) for e in report.trackers)
            for category in OPTIONAL
        }
        for phase in report.phases
    }
    return template_in(environment, "scan_report.html").render(
        report=report,
        recording=report.recording,
        verdict=verdict(report),
        summary=summary(report),
        proposals=propose(report),
        leaking={evidence.vendor.id for evidence in report.vendors if evidence.leaks},
        counts=counts,
        most_in_a_phase=max((count for of_one in counts.values() for count in of_one.values()), default=0),
    )


def json_report(report: Report) -> dict[str, Any]:
    """Return all that was found, as JSON has it."""
    recording, proposals = report.recording, propose(report)
    return {
        "url": recording.url,
        "started": recording.started,
        "seconds": recording.seconds,
        "browser": recording.browser,
        "banner": recording.banner,
        "notes": recording.notes,
        "leaks": len(report.leaks),
        "phases": [
            {
                "phase": record.phase,
                "pages": [
                    {"url": visit.url, "status": visit.status, "problem": visit.problem}
                    for visit in record.visits
                ],
                "stopped": record.stopped,
                "dropped": record.dropped,
            }
            for record in recording.phases
        ],
        "findings": [_finding(finding) for finding in report.findings],
        "fingerprinting": [
            {
                "phase": found.phase,
                "script": found.script,
                "vendor": found.vendor.id if found.vendor else None,
                "techniques": dict(found.techniques),
                "likely": found.likely,
                "page": found.page,
            }
            for found in report.fingerprinting
        ],
        "proposals": {
            "declare": [vendor.id for vendor in proposals.declare],
            "cookies": [finding.subject for finding in proposals.cookies],
            "companies": [{"domain": c.domain, "hosts": list(c.hosts)} for c in proposals.companies],
            "toml": proposals.toml(),
        },
    }


def _finding(finding: Finding) -> dict[str, Any]:
    vendor, cookie = finding.vendor, finding.cookie
    told: dict[str, Any] = {
        "phase": finding.phase,
        "kind": finding.kind,
        "subject": finding.subject,
        "host": finding.host,
        "vendor": vendor.id if vendor else None,
        "name": vendor.name if vendor else None,
        "category": vendor.category if vendor else None,
        "rule": finding.rule,
        "allowed": finding.allowed,
        "declared": finding.declared,
        "named": finding.named,
        "pages": list(finding.pages),
        "initiator": finding.initiator,
        "count": finding.count,
    }
    if cookie is not None:
        told |= {
            "domain": cookie.domain,
            "path": cookie.path,
            "lifetime_seconds": cookie.lifetime_seconds,
            "http_only": cookie.http_only,
            "secure": cookie.secure,
            "same_site": cookie.same_site,
            "partition": cookie.partition,
        }
    return told
