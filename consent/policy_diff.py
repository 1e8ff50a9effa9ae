"""What has changed between two policies, and whether visitors are asked again for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import Enum
from typing import Any, TypeVar

from consent.catalog import CatalogList, Cookie, Vendor
from consent.catalog.model import StorageKey
from consent.policy import SECTION_FIELDS, OwnCookie, Policy, Rule

_OF_VENDORS = ("company", "category")
_OF_COOKIES = ("category", "lifetime")
_OF_POLICIES = ("regime", "controller", "children", "group", "gpc_refuses", "dnt_refuses")


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is otherwise in the other policy."""

    material: bool
    """Whether it matters to what a visitor consented to: it is part of the policy's version."""
    what: str
    """``controller``, ``vendor hotjar``, ``cookie _hjid of vendor hotjar, lifetime`` and so on."""
    before: str | None
    """``None``: it was not there."""
    after: str | None
    """``None``: it is not there any more."""


def policy_changes(before: Policy, after: Policy) -> list[Change]:
    """Return what has changed: what is material, then what is not.

    One of them is material if and only if the versions differ, or those of a rule's policies.
    """
    # What may load though it is refused matters; who else is told what is allowed does not.
    lets_through = before.let_through != after.let_through
    changes = [
        *_fields(
            "",
            before,
            after,
            material=_OF_POLICIES + ("interfaces",) * lets_through,
            apart=("vendors", "own_cookies", "lists", "texts", "sentences", "rules", "version"),
        ),
        *_texts(before.texts, after.texts),
        *_texts(before.sentences, after.sentences, "sentence "),
        *_vendors(before, after),
        *_own_cookies(before, after),
        *_lists(before, after),
        *_rules(before, after),
    ]
    return sorted(changes, key=lambda change: not change.material)


def _vendors(before: Policy, after: Policy) -> Iterator[Change]:
    for place, old, new in _pairs(_by_id(before.vendors), _by_id(after.vendors)):
        what = f"vendor {place}"
        if old is None or new is None:
            yield Change(True, what, _told(old), _told(new))
            continue
        yield from _fields(what, old, new, material=_OF_VENDORS, apart=("id", "cookies", "storage"))
        yield from _entries(what, old.cookies, new.cookies, _OF_COOKIES, ("name",))
        yield from _entries(what, old.storage, new.storage, (), ("key", "area"))
    yield from _order("vendors", [each.id for each in before.vendors], [each.id for each in after.vendors])


def _entries(
    vendor: str,
    before: Iterable[Cookie | StorageKey],
    after: Iterable[Cookie | StorageKey],
    material: tuple[str, ...],
    apart: tuple[str, ...],
) -> Iterator[Change]:
    for name, old, new in _pairs(*({_name(entry): entry for entry in each} for each in (before, after))):
        what = f"{name} of {vendor}"
        if old is None or new is None:
            yield Change(True, what, _told(old), _told(new))
        else:
            yield from _fields(what, old, new, material=material, apart=apart)


def _name(entry: Cookie | StorageKey) -> str:
    if isinstance(entry, StorageKey):
        return f"{entry.area} storage {entry.key}"
    return f"{'third-party ' if entry.party == 'third' else ''}cookie {entry.name}"


def _own_cookies(before: Policy, after: Policy) -> Iterator[Change]:
    old_cookies = {cookie.name: cookie for cookie in before.own_cookies}
    new_cookies = {cookie.name: cookie for cookie in after.own_cookies}
    for name, old, new in _pairs(old_cookies, new_cookies):
        what = f"own cookie {name}"
        if old is None or new is None:
            yield Change(True, what, _told(old), _told(new))
        else:
            yield from _fields(what, old, new, material=_OF_COOKIES, apart=("name",))
    yield from _order("own cookies", list(old_cookies), list(new_cookies))


def _lists(before: Policy, after: Policy) -> Iterator[Change]:
    # By name, since the two policies may be in different folders.
    old_lists, new_lists = ({each.name: each for each in policy.lists} for policy in (before, after))
    for name, old, new in _pairs(old_lists, new_lists):
        if old is None or new is None or (old.vendors, old.licence) != (new.vendors, new.licence):
            yield Change(False, f"list {name}", *(_list_told(each) for each in (old, new)))
    yield from _order("lists", list(old_lists), list(new_lists))


def _list_told(each: CatalogList | None) -> str | None:
    return None if each is None else f"{each.rules:,} rules, {each.licence}"


def _rules(before: Policy, after: Policy) -> Iterator[Change]:
    for place, old, new in _pairs(_by_place(before.rules), _by_place(after.rules)):
        what = f"rule for {place}"
        if old is None or new is None:
            yield Change(False, what, *(rule.policy.site if rule else None for rule in (old, new)))
        elif before.has_section(old.policy) and after.has_section(new.policy):
            # What sections have from the policy around them changes with it.
            apart = tuple(each.name for each in fields(Policy) if each.name not in SECTION_FIELDS)
            yield from _fields(what, old.policy, new.policy, material=(), apart=apart)
        else:
            for change in policy_changes(old.policy, new.policy):
                yield replace(change, what=f"{what}, {change.what}")
    yield from _order("rules", list(_by_place(before.rules)), list(_by_place(after.rules)))


def _by_place(rules: Iterable[Rule]) -> dict[str, Rule]:
    return {" ".join((*rule.hosts, *rule.paths)): rule for rule in rules}


def _texts(before: Mapping[str, Any], after: Mapping[str, Any], within: str = "text ") -> Iterator[Change]:
    for key, old, new in _pairs(before, after):
        if isinstance(old, Mapping) or isinstance(new, Mapping):
            of_old, of_new = (each if isinstance(each, Mapping) else {} for each in (old, new))
            yield from _texts(of_old, of_new, f"{within}{key}.")
        elif old != new:
            yield Change(False, within + key, old, new)


def _fields(
    what: str, before: Any, after: Any, *, material: tuple[str, ...], apart: tuple[str, ...]
) -> Iterator[Change]:
    for field in fields(before):
        old, new = getattr(before, field.name), getattr(after, field.name)
        if field.name not in apart and old != new:
            name = field.name.replace("_", " ")
            yield Change(
                field.name in material, f"{what}, {name}" if what else name, _written(old), _written(new)
            )


def _order(what: str, before: list[str], after: list[str]) -> Iterator[Change]:
    if before != after and sorted(before) == sorted(after):
        yield Change(False, f"the order of the {what}", ", ".join(before), ", ".join(after))


K = TypeVar("K")
V = TypeVar("V")


def _pairs(before: Mapping[K, V], after: Mapping[K, V]) -> Iterator[tuple[K, V | None, V | None]]:
    for key in dict.fromkeys([*before, *after]):
        yield key, before.get(key), after.get(key)


def _by_id(vendors: Iterable[Vendor]) -> dict[str, Vendor]:
    return {vendor.id: vendor for vendor in vendors}


def _told(entry: Vendor | Cookie | StorageKey | None) -> str | None:
    if isinstance(entry, Vendor):
        return f"{entry.name}, of {entry.company} ({entry.category})"
    if isinstance(entry, OwnCookie):
        return f"{entry.lifetime} ({entry.category})"
    if isinstance(entry, Cookie):
        return entry.lifetime
    return None if entry is None else entry.purpose


def _written(value: object) -> str:
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, frozenset):
        return ", ".join(sorted(map(_written, value))) or "nothing"
    if isinstance(value, tuple):
        return ", ".join(map(_written, value)) or "nothing"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {_written(each)}" for key, each in value.items()) or "nothing"
    if is_dataclass(value):
        return ", ".join(
            f"{each.name} {_written(getattr(value, each.name))}"
            for each in fields(value)
            if getattr(value, each.name)
        )
    return "nothing" if value is None else str(value)
