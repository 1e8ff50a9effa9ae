"""Disconnect's list of services: categories, in each vendors, with the domains of each of their sites."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from consent.catalog.lists import wrong_listed_pattern
from consent.catalog.loading import wrong_host
from consent.categories import Category
from consent.errors import ConfigurationError
from consent.public_lists.reading import (
    MAX_LINE,
    MAX_PATTERN,
    Draft,
    Entry,
    ListedVendor,
    Place,
    Progress,
    SourceFile,
    one_line,
)

LICENCE = "CC BY-NC-SA 4.0; Disconnect, Inc. licenses commercial use"

CATEGORIES: dict[str, Category] = {
    "ConsentManagers": Category.STRICTLY_NECESSARY,
    "Anti-fraud": Category.STRICTLY_NECESSARY,
    "Advertising": Category.TARGETING,
    "Social": Category.TARGETING,
    "Disconnect": Category.TARGETING,
    "Cryptomining": Category.TARGETING,
    "Email": Category.TARGETING,
    "EmailAggressive": Category.TARGETING,
    "FingerprintingInvasive": Category.TARGETING,
    "Analytics": Category.PERFORMANCE,
    "Content": Category.FUNCTIONAL,
    "FingerprintingGeneral": Category.TARGETING,
}
"""Ours for each of Disconnect's. Of a domain that is in several, the first of these counts."""
CONTENT = "Content"
NOT_CONTENT = "what pages show (Content), which many pages need: --content takes it, as functional"
UNKNOWN_CATEGORY = "a category that is not known here"
NOT_A_HOST = "not a host, nor one with a path"
_FORM = 'this is not Disconnect\'s services file: it has no "categories" with vendors in them'


def read_disconnect(file: SourceFile, progress: Progress, *, content: bool = False) -> Draft:
    """Read Disconnect's ``services.json``.

    Args:
        content: whether the category ``Content`` is taken.

    Raises:
        ConfigurationError: it is no such file.
    """
    data = _parsed(file)
    licence = data.get("license")
    draft = Draft(
        "Disconnect", one_line(licence, 450) if isinstance(licence, str) and licence.strip() else LICENCE
    )
    categories = data.get("categories")
    if not isinstance(categories, dict):
        raise ConfigurationError(_FORM, source=file.name)
    ranks = {name: rank for rank, name in enumerate(CATEGORIES)}
    for name, entries in sorted(categories.items(), key=lambda item: ranks.get(item[0], len(ranks))):
        if not isinstance(entries, list):
            raise ConfigurationError(_FORM, source=file.name)
        for vendor, domain in _domains(entries, file.name):
            progress(1)
            draft.read += 1
            place = Place(
                file.name, None, f"{one_line(name, 40)}: {one_line(vendor, 60)}: {one_line(domain, 100)}"
            )
            category = CATEGORIES.get(name)
            if category is None:
                draft.skip(UNKNOWN_CATEGORY, place)
            elif name == CONTENT and not content:
                draft.skip(NOT_CONTENT, place)
            elif (rule := _rule(domain)) is None or not one_line(vendor, 80):
                draft.skip(NOT_A_HOST, place)
            else:
                draft.add(Entry(ListedVendor(one_line(vendor, 80), category), place, (rule,)))
    return draft


def _parsed(file: SourceFile) -> dict[str, Any]:
    try:
        data = json.loads(file.text)
    except json.JSONDecodeError as error:
        raise ConfigurationError(
            f"not valid JSON at column {error.colno}: {error.msg}", source=file.name, line=error.lineno
        ) from None
    except (RecursionError, ValueError):
        raise ConfigurationError(
            "not valid JSON: nested too deeply, or a number too long", source=file.name
        ) from None
    if not isinstance(data, dict):
        raise ConfigurationError(_FORM, source=file.name)
    return data


def _domains(entries: list[Any], source: str) -> Iterator[tuple[str, str]]:
    """Yield each domain with its vendor. What else is said of a vendor is in texts, not in lists."""
    for entry in entries:
        if not isinstance(entry, dict):
            raise ConfigurationError(_FORM, source=source)
        for vendor, sites in entry.items():
            if not isinstance(sites, dict):
                raise ConfigurationError(_FORM, source=source)
            for domains in sites.values():
                for domain in domains if isinstance(domains, list) else ():
                    yield vendor, domain if isinstance(domain, str) else json.dumps(domain)[:MAX_LINE]


def _rule(domain: str) -> str | None:
    domain = domain.strip()
    host, slash, path = domain.partition("/")
    host = host.lower()
    if not slash or not path:
        return host if wrong_host(host) is None else None
    pattern = f"{host}/{path.rstrip('*')}*"
    return pattern if len(pattern) <= MAX_PATTERN and wrong_listed_pattern(pattern) is None else None
