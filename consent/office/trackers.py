"""Third parties that were seen: who they are, whether visitors are told of them, and what was done about them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from consent.catalog import Catalog, Vendor, load_catalog
from consent.categories import OPTIONAL
from consent.enforcement_log import EnforcementCount
from consent.inventory import Sighting, Source, Tally
from consent.inventory_status import Status, status_of
from consent.moments import format_moment
from consent.office.asker import Asker
from consent.office.classifying import Classification, NotTaken, classification, take_over, waiting
from consent.office.desk import Desk
from consent.office.policies import editions, terms
from consent.office.questions import TEXT_SCHEMA, Parameter, WrongQuestion, one_of
from consent.office.roles import Action
from consent.vendor_stubs import SeenHost, companies_of, declare_lines, vendor_stub

MAX_PROPOSED: Final = 100
"""How many vendors, and how many companies, are proposed at once."""
_PROPOSED: Final = (
    "# What was seen on the site and is not in its policy. Complete it, and add it to the policy file."
)
_CURSOR: Final = re.compile(r"([0-2])\.([01])\.([0-9]{1,10})\.([0-9a-f]{16})")
MAX_LEAKS: Final = 500
"""How many rows are told of at most, the newest first; all are counted."""
STATUS: Final = Parameter(
    "status",
    "Whether anybody has explained it, and visitors are told of it.",
    {"type": "string", "enum": list(map(str, Status))},
)
SOURCE: Final = Parameter(
    "source", "Who says that it was there.", {"type": "string", "enum": list(map(str, Source))}
)
TRACKER_FILTERS: Final = (
    STATUS,
    SOURCE,
    Parameter("vendor", "The vendor's id.", TEXT_SCHEMA),
    Parameter("site", "The site, as its receipts name it.", TEXT_SCHEMA),
    Parameter("subject", "Words of the host, the cookie or the script.", TEXT_SCHEMA),
)
"""What third parties can be asked by."""
TRACKER_CURSOR: Final = Parameter(
    "cursor",
    "Where the page begins: `next` of the one before.",
    {"type": "string", "pattern": r"^([0-2]\.[01]\.[0-9]{1,10}\.[0-9a-f]{16})?$"},
)
CATEGORY: Final = Parameter(
    "category", "The category that was refused.", {"type": "string", "enum": list(map(str, OPTIONAL))}
)


def day_of_number(number: int) -> str:
    """Return a day, counted from 1970, as a date."""
    return format_moment(min(max(number, 0), 2_900_000) * 86_400_000)[:10]


def asked_trackers(given: dict[str, str]) -> dict[str, str]:
    """Return what third parties are asked by.

    Raises:
        WrongQuestion: a value is none.
    """
    for parameter in (STATUS, SOURCE):
        if given.get(parameter.name):
            one_of(parameter.name, given[parameter.name], parameter.schema["enum"])
    return given


@dataclass(frozen=True, slots=True)
class Seen:
    """One third party."""

    name: str
    """16 hexadecimal digits, of what it is and where."""
    sighting: Sighting
    tally: Tally
    status: Status
    vendor: Vendor | None

    @property
    def rank(self) -> tuple[int, bool, int, str]:
        """What comes first: what needs work; what is no script of the site's own; what is seen often."""
        is_script = self.sighting.source is Source.SCRIPT
        return list(Status).index(self.status), is_script, -self.tally.count, self.name

    @property
    def cursor(self) -> str:
        """Where a page ends that this one is the last of."""
        status, is_script, times, name = self.rank
        return f"{status}.{int(is_script)}.{-times}.{name}"


def seen(desk: Desk, asker: Asker) -> list[Seen]:
    """Return all that may be seen, what nobody has explained first."""
    declared = None if desk.in_force is not None else _recorded_vendors(desk, asker)
    found = [_seen(desk, sighting, tally, declared) for sighting, tally in desk.sightings(asker).items()]
    return sorted(found, key=lambda each: each.rank)


def narrowed(found: Sequence[Seen], given: Mapping[str, str]) -> list[Seen]:
    """Return those that are asked for: by ``status``, ``source``, ``vendor``, ``site``, and words of ``subject``."""
    wanted = given.get("subject", "").lower()
    return [
        each
        for each in found
        if given.get("status") in (None, "", each.status)
        and given.get("source") in (None, "", each.sighting.source)
        and given.get("vendor") in (None, "", each.sighting.vendor)
        and given.get("site") in (None, "", each.sighting.site)
        and wanted in each.sighting.subject.lower()
    ]


def page_of(found: Sequence[Seen], cursor: str, limit: int) -> tuple[Sequence[Seen], str | None]:
    """Return a page of them, and where the next one begins.

    Raises:
        WrongQuestion: the cursor is none.
    """
    if cursor:
        parts = _CURSOR.fullmatch(cursor)
        if parts is None:
            raise WrongQuestion("cursor", "what `next` of the page before said")
        after = (int(parts[1]), parts[2] == "1", -int(parts[3]), parts[4])
        found = [each for each in found if each.rank > after]
    return found[:limit], found[limit - 1].cursor if len(found) > limit else None


@dataclass(frozen=True, slots=True)
class Done:
    """What was done about one vendor's tags of one kind, on some days together."""

    vendor: str
    category: str
    rule: str
    action: str
    reason: str
    times: int


def done(counts: Sequence[EnforcementCount]) -> list[Done]:
    """Add counts of days up, the most frequent first."""
    sums: Counter[tuple[str, str, str, str, str]] = Counter()
    for kind, times in counts:
        sums[kind.vendor, kind.category, kind.rule, kind.action, kind.reason] += times
    return [Done(*key, times) for key, times in sums.most_common()]


def leaks(counts: Sequence[EnforcementCount], category: str) -> list[EnforcementCount]:
    """Return what left although it was refused: of one category, or of any."""
    found = [count for count in counts if count.kind.leaked and category in ("", count.kind.category)]
    return sorted(found, key=lambda count: (count.kind.day, count.times), reverse=True)


def _seen(desk: Desk, sighting: Sighting, tally: Tally, declared: Mapping[str, set[str]] | None) -> Seen:
    name = sha256("\0".join(sighting).encode()).hexdigest()[:16]
    if desk.in_force is not None:
        parts = desk.in_force.parts
        part = parts.get(sighting.part, parts[""])
        vendor = part.catalog.vendors.get(sighting.vendor)
        return Seen(name, sighting, tally, status_of(sighting, tally, part), vendor)
    status = Status.UNDECLARED if sighting.vendor else Status.UNCLASSIFIED
    known = declared or {}
    sites = [sighting.site] if sighting.site else known
    if sighting.vendor and any(sighting.vendor in known.get(site, ()) for site in sites):
        status = Status.DECLARED
    return Seen(name, sighting, tally, status, load_catalog().vendors.get(sighting.vendor))


def _recorded_vendors(desk: Desk, asker: Asker) -> Mapping[str, set[str]]:
    """Return which vendors visitors of each site were told of last, where nobody told the office of the policy."""
    found: dict[str, set[str]] = {}
    for each in editions(desk, asker):
        told = terms(desk, each) if each.present else None
        if told is not None:
            found.setdefault(each.site, set()).update(vendor.id for vendor in told.vendors)
    return found


def proposals(found: Sequence[Seen]) -> str:
    """Return what the policy file lacks: vendors to declare, and tables to fill in for who is not known."""
    known = {
        each.vendor.id: each.vendor
        for each in found
        if each.status is Status.UNDECLARED and each.vendor is not None
    }
    lines = [_PROPOSED]
    if known:
        vendors = sorted(known.values(), key=lambda vendor: vendor.id)[:MAX_PROPOSED]
        lines.append(f"# Add to declare:\n{declare_lines(vendors)}")
    hosts = [
        SeenHost(
            each.sighting.subject,
            each.sighting.kind,
            each.sighting.subject,
            each.tally.pages[0][:120] if each.tally.pages else "",
        )
        for each in found
        if each.status is Status.UNCLASSIFIED and each.sighting.source is not Source.SCRIPT
    ]
    lines += [vendor_stub(company) for company in companies_of(hosts)[:MAX_PROPOSED]]
    return "\n".join([*lines, ""])


def suggested(each: Seen) -> Mapping[str, str]:
    """Return what can be filled in of who a third party is; empty where no company can be told by it."""
    companies = companies_of([SeenHost(each.sighting.subject, each.sighting.kind, each.sighting.subject, "")])
    return {"id": companies[0].id, "hosts": companies[0].hosts[0]} if companies else {}


def known_catalog(desk: Desk) -> Catalog:
    """Return what is known about vendors."""
    return load_catalog() if desk.in_force is None else desk.in_force.catalog


def takes_classifications(desk: Desk) -> bool:
    """Tell whether the policy lets the office classify."""
    return desk.in_force is not None and bool(desk.in_force.file and desk.in_force.policy.classified)


def classify(desk: Desk, asker: Asker, said: Mapping[str, Any]) -> Classification:
    """Say who a third party is, in the file that the policy names; it is recorded who said so.

    Raises:
        WrongQuestion: a member is missing, or none that a vendor can have.
        NotTaken: the policy does not let the office, or cannot be read with it. Nothing was changed.
    """
    desk.require(asker, Action.CLASSIFY)
    in_force = desk.in_force
    if in_force is None or in_force.file is None or not in_force.policy.classified:
        raise NotTaken(
            'the policy does not let the office classify: [office] classified = "classified.toml" does'
        )
    read = classification(said, in_force.catalog)
    desk.record(
        asker, "classified", vendor=read.vendor_id, category=read.category, hosts=said.get("hosts", [])[:10]
    )
    try:
        take_over(in_force.file, Path(in_force.policy.classified), read)
    except BaseException:
        # It is in no database, and so the record could not be undone with it.
        desk.record(asker, "not-classified", vendor=read.vendor_id)
        raise
    return read


def not_yet(desk: Desk) -> list[str]:
    """Return the vendors that were classified and that take effect when the site starts the next time."""
    in_force = desk.in_force
    if in_force is None or not in_force.policy.classified:
        return []
    return waiting(Path(in_force.policy.classified), in_force.policy.vendors)
