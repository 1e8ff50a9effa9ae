"""The Open Cookie Database: one cookie in a row, with its platform, purpose and controller."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator

from consent.catalog import Cookie
from consent.catalog.loading import MAX_NAME, is_web_address, wrong_cookie_name
from consent.categories import Category
from consent.errors import ConfigurationError
from consent.public_lists.reading import (
    MAX_LINE,
    Draft,
    Entry,
    ListedVendor,
    Place,
    Progress,
    SourceFile,
    one_line,
)

LICENCE = "Apache-2.0"
CATEGORIES: dict[str, Category] = {
    "functional": Category.STRICTLY_NECESSARY,
    "security": Category.STRICTLY_NECESSARY,
    "personalization": Category.FUNCTIONAL,
    "preferences": Category.FUNCTIONAL,
    "analytics": Category.PERFORMANCE,
    "marketing": Category.TARGETING,
}
"""Ours for each of the database's, in lower case."""
PLATFORM, CATEGORY, NAME, DOMAIN = "Platform", "Category", "Cookie / Data Key name", "Domain"
PURPOSE, LIFETIME, COMPANY = "Description", "Retention period", "Data Controller"
PRIVACY, WILDCARD = "User Privacy & GDPR Rights Portals", "Wildcard match"
_NEEDED = (PLATFORM, CATEGORY, NAME, DOMAIN, WILDCARD)
OF_OTHERS = "kept under another company's domain: no response of the site sets it"
UNKNOWN_CATEGORY = "a category that is not known here"
NAMELESS = "not a cookie's name, or one with a placeholder in it"
TOO_MUCH = "a wildcard after fewer than three characters"
NO_PLATFORM = "no platform"
_PLACEHOLDER = re.compile(r"[\[\]<>{}()]|\bX{3,}\b|\.{3}|…")
_OWN_DOMAIN = re.compile(r"1st|first|website|advertiser|own domain|your domain|publisher", re.IGNORECASE)


def read_open_cookie_database(file: SourceFile, progress: Progress) -> Draft:
    """Read the CSV file of the Open Cookie Database.

    Raises:
        ConfigurationError: it is no such file.
    """
    draft = Draft("Open Cookie Database", LICENCE)
    for line, row in _rows(file):
        progress(1)
        draft.read += 1
        name = row[NAME].strip()
        place = Place(file.name, line, one_line(f"{row[PLATFORM]}, {row[CATEGORY]}, {name}", 200))
        category = CATEGORIES.get(row[CATEGORY].strip().lower())
        platform = one_line(row[PLATFORM], 80)
        if row[WILDCARD].strip() == "1":
            name = f"{name.rstrip('*')}*"
        if category is None:
            draft.skip(UNKNOWN_CATEGORY, place)
        elif not platform:
            draft.skip(NO_PLATFORM, place)
        elif row[DOMAIN].strip() and not _OWN_DOMAIN.search(row[DOMAIN]):
            draft.skip(OF_OTHERS, place)
        elif reason := _wrong(name):
            draft.skip(reason, place)
        else:
            draft.add(Entry(_vendor(row, platform, category), place, cookie=_cookie(row, name)))
    return draft


def _rows(file: SourceFile) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each row by the names of the columns, with the line in which it ends."""
    reader = csv.reader(io.StringIO(file.text, newline=""), strict=True)
    limit = csv.field_size_limit(MAX_LINE)
    try:
        columns = [column.strip() for column in next(reader, [])]
        missing = [column for column in _NEEDED if column not in columns]
        if missing:
            raise ConfigurationError(
                f'this is not the CSV file of the Open Cookie Database: it has no column "{missing[0]}"',
                source=file.name,
                line=1,
            )
        for values in reader:
            if any(values):
                yield (
                    reader.line_num,
                    dict.fromkeys((*_NEEDED, PURPOSE, LIFETIME, COMPANY, PRIVACY), "")
                    | dict(zip(columns, values, strict=False)),
                )
    except csv.Error as error:
        raise ConfigurationError(
            f"not valid CSV: {error}: check the quotes of this line", source=file.name, line=reader.line_num
        ) from None
    finally:
        csv.field_size_limit(limit)


def _wrong(name: str) -> str | None:
    if not name.strip("*") or len(name) > MAX_NAME or _PLACEHOLDER.search(name):
        return NAMELESS
    wrong = wrong_cookie_name(name)
    if wrong is None:
        return None
    return TOO_MUCH if wrong.startswith("would match") else NAMELESS


def _vendor(row: dict[str, str], platform: str, category: Category) -> ListedVendor:
    privacy = row[PRIVACY].strip()
    return ListedVendor(
        platform,
        category,
        company=one_line(row[COMPANY], 100),
        privacy_url=privacy if len(privacy) <= MAX_NAME and is_web_address(privacy) else "",
    )


def _cookie(row: dict[str, str], name: str) -> Cookie:
    lifetime = one_line(row[LIFETIME], 60)
    return Cookie(
        name=name,
        purpose=one_line(row[PURPOSE], 500),
        lifetime="session" if lifetime.lower() == "session" else lifetime,
        party="first",
        http_only=False,
    )
