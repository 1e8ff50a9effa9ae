"""What is in force on the site now, where the office knows its policy: beside the site, or by its policy file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from consent.catalog import Catalog
from consent.jurisdictions import treatments
from consent.parts import Part, host_parts
from consent.policy import Policy


@dataclass(frozen=True)
class InForce:
    """A policy with what it is used with."""

    policy: Policy
    catalog: Catalog
    file: Path | None = None
    """The policy file; ``None``: the policy was made in Python."""

    @cached_property
    def parts(self) -> Mapping[str, Part]:
        """The parts of the site that have a policy of their own, by their names."""
        return {part.name: part for part in host_parts(self.policy, self.catalog)}

    @cached_property
    def policies(self) -> Sequence[Policy]:
        """Each policy that visitors are asked under: of every part, for every law that may hold where they are."""
        found: dict[Policy, None] = {}
        for part in self.parts.values():
            where = part.policy.jurisdictions
            if where is None:
                found[part.policy] = None
            else:
                found.update(dict.fromkeys(treated.of(part.policy) for treated in treatments(where)))
        return list(found)
