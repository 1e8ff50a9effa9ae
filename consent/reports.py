"""Reports of violations of our Content-Security-Policy: what browsers send, read strictly, and what it says.

Two forms: ``application/csp-report`` (CSP Level 2, section 4.4) and ``application/reports+json`` (Reporting API,
CSP Level 3, section 5.3). Anybody can send one, so nothing is believed that matters: a report adds to the
inventory, and only what it says of places. Of a sample of code the shape is kept and nothing else. Query, fragment,
user names and everything else that may be about a person are not looked at.
"""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from consent.allowance import Allowance
from consent.catalog import Catalog
from consent.html.urls import PageURL, resolve
from consent.inventory import Inventory, Source
from consent.script_shape import shape_of

logger = logging.getLogger("consent")

MAX_REPORT_BYTES = 256 * 1024
"""Of one request: browsers repeat the whole policy in each of several reports."""
MAX_REPORTS = 100
"""Of one request; more are not looked at."""
PER_SECOND = 10
"""So many requests a second are read in the long run, in each process."""
BURST = 50
"""... and so many at once. The others are answered alike and not read."""

_DIRECTIVE = re.compile(
    r"(?:script|style)-src(?:-elem|-attr)?|(?:default|img|font|connect|media|frame|child|worker|object|manifest"
    r"|prefetch|fenced-frame)-src"
)
_EXTENSION = re.compile(r"[a-z-]*extension:|(?:moz|chrome)(?:-[a-z]+)?$", re.IGNORECASE)
_WORDS = frozenset({"inline", "eval", "wasm-eval", "trusted-types-policy", "trusted-types-sink"})
_SCRIPTS = frozenset({"script-src", "script-src-elem", "script-src-attr"})
_MAX_SAMPLE = 40  # CSP Level 3, section 5.4
_LOCAL = frozenset({"about", "blob", "data"})
_SCHEME = re.compile(r"https?:|wss?:", re.IGNORECASE)


class Dropped(StrEnum):
    """Why a violation says nothing about the site's third-party content."""

    CODE = "code"
    """Code made of text, or inline code without a sample: our policy allows it, so that another one reports it."""
    EXTENSION = "extension"
    """It was a browser's extension."""
    NO_HOST = "no-host"
    """Nothing was to be fetched from anywhere, as with ``about:`` or ``data:``."""
    OWN_HOST = "own-host"
    """It was the page's own host."""
    OTHER_SITE = "other-site"
    """The page is not one of this host."""
    DIRECTIVE = "directive"
    """It is about something that our policy does not restrict."""


class Violation(NamedTuple):
    """What a browser reported, as far as it is looked at."""

    page: str
    blocked: str
    directive: str
    source_file: str
    sample: str = ""
    """How the inline code begins that was stopped: 40 characters, where the policy asks for them."""


class Violated(NamedTuple):
    """What was stopped, or would have been."""

    host: str
    path: str
    """With query, to tell whose it is; it is not kept."""
    directive: str
    page: str
    """The page's path; empty where it has none."""


class Stopped(NamedTuple):
    """Inline code that was stopped by a policy of the site's own, or would have been."""

    sample: str
    directive: str
    page: str
    """As in `Violated`."""


def read_reports(body: bytes, media_type: bytes) -> list[Violation]:
    """Return the violations in the body of a report; reports of other kinds are passed over.

    Raises:
        ValueError: it is of another media type, or does not have the form that this one has.
        RecursionError: it is nested too deeply.
    """
    content = json.loads(body.decode("utf-8"), object_pairs_hook=_unique)
    if media_type == b"application/csp-report":
        report = _object(_object(content).get("csp-report"))
        directive = _text(report, "effective-directive") or _text(report, "violated-directive")
        return [
            Violation(
                _text(report, "document-uri"),
                _text(report, "blocked-uri"),
                # Browsers before CSP Level 3 repeat the whole directive.
                directive.partition(" ")[0],
                _text(report, "source-file"),
                _text(report, "script-sample"),
            )
        ]
    if media_type != b"application/reports+json":
        raise ValueError("neither application/csp-report nor application/reports+json")
    if not isinstance(content, list):
        raise ValueError("not a list of reports")
    found = []
    for item in content[:MAX_REPORTS]:
        report = _object(item)
        if _text(report, "type") != "csp-violation":
            continue
        about = _object(report.get("body"))
        found.append(
            Violation(
                _text(about, "documentURL") or _text(report, "url"),
                _text(about, "blockedURL"),
                _text(about, "effectiveDirective"),
                _text(about, "sourceFile"),
                _text(about, "sample"),
            )
        )
    return found


def judged(violation: Violation, host: str) -> Violated | Stopped | Dropped:
    """Return what a violation says about what is on the site on ``host``, or why nothing.

    Args:
        host: as in `consent.html.urls.PageURL`.
    """
    nowhere = PageURL("https", "", "/")
    page = resolve(violation.page, nowhere) if _SCHEME.match(violation.page) else None
    # What a page makes itself, such as a worker of a blob: URL, has no address to tell.
    if page.host != host if page else violation.page.partition(":")[0] not in _LOCAL:
        return Dropped.OTHER_SITE
    if _EXTENSION.match(violation.blocked) or _EXTENSION.match(violation.source_file):
        return Dropped.EXTENSION
    path = page.path.partition("?")[0] if page else ""
    if not (path.isascii() and path.isprintable()):
        path = ""  # no browser writes it so
    if violation.blocked == "inline" and violation.sample and violation.directive in _SCRIPTS:
        return Stopped(violation.sample[:_MAX_SAMPLE], violation.directive, path)
    if violation.blocked in _WORDS:
        return Dropped.CODE
    if _DIRECTIVE.fullmatch(violation.directive) is None:
        return Dropped.DIRECTIVE
    if violation.blocked == "self":
        return Dropped.OWN_HOST
    target = resolve(violation.blocked, nowhere) if _SCHEME.match(violation.blocked) else None
    if target is None:
        return Dropped.NO_HOST
    if target.host == host:
        return Dropped.OWN_HOST
    return Violated(target.host, target.path, violation.directive, path)


class Reports:
    """Takes reports into an inventory, no more of them than costs nothing.

    Args:
        inventory: What they are noted in.
        catalog: Says whose a place is.
    """

    def __init__(self, inventory: Inventory, catalog: Catalog) -> None:
        self._inventory = inventory
        self._catalog = catalog
        self._allowance = Allowance(PER_SECOND, BURST)
        self.dropped: Counter[Dropped] = Counter()
        """How many violations said nothing, and why."""
        self.unread = 0
        """Requests that were too many."""

    def admits(self, now: float) -> bool:
        """Tell whether one more request is to be read at ``now``, in seconds; it counts as read then."""
        admitted = self._allowance.admits(now)
        self.unread += not admitted
        return admitted

    def take(self, violations: Sequence[Violation], *, host: str, now: int) -> None:
        """Note what was reported by a browser that asked ``host``; what is said twice counts once."""
        for violation in dict.fromkeys(violations):
            said = judged(violation, host)
            if isinstance(said, Dropped):
                self.dropped[said] += 1
                logger.debug("a report says nothing (%s)", said)
                continue
            self._inventory.note(Source.REPORT, self._sightings(said), said.page, now)

    def _sightings(self, said: Violated | Stopped) -> list[tuple[str, str, str]]:
        if isinstance(said, Violated):
            match = self._catalog.match_url(said.host, said.path)
            return [(said.directive, said.host, match.vendor.id if match else "")]
        vendors = [match.vendor.id for match in self._catalog.match_inline(said.sample)]
        return [(said.directive, f"inline {shape_of(said.sample)}", vendor) for vendor in vendors or [""]]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member is given twice")
    return found


def _object(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _text(report: Mapping[str, Any], key: str) -> str:
    value = report.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{key} is not a string")
    return value
