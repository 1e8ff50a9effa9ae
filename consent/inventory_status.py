"""What catalog and policy say of what was seen: whether anybody has explained it, and whether visitors are told."""

from __future__ import annotations

from enum import StrEnum

from consent.html.urls import PageURL
from consent.inventory import Sighting, Tally
from consent.parts import Part, part_at


class Status(StrEnum):
    """How a third party stands, what needs work first."""

    UNCLASSIFIED = "unclassified"
    """No catalog entry explains it."""
    UNDECLARED = "undeclared"
    """The catalog knows the vendor, and the policy does not list it to visitors."""
    DECLARED = "declared"
    """The policy does, or names the place in ``csp_allow``."""


def status_of(sighting: Sighting, tally: Tally, part: Part) -> Status:
    """Return how a sighting stands by the policy of its part of the site."""
    if sighting.vendor:
        is_declared = any(vendor.id == sighting.vendor for vendor in part.policy.vendors)
        return Status.DECLARED if is_declared else Status.UNDECLARED
    pages = [PageURL("https", "", page) for page in tally.pages or ["/"]]
    if all(part_at(part.policy, part.catalog, page).names(sighting.subject, "/") for page in pages):
        return Status.DECLARED
    return Status.UNCLASSIFIED
