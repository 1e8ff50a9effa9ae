"""From a site's own copy of a public list to a file that its policy can name, with an account of every rule."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from consent.catalog import Catalog, Vendor
from consent.catalog.lists import LIST_PREFIX, MAX_LIST_BYTES
from consent.categories import Category
from consent.errors import ConfigurationError
from consent.public_lists.disconnect import read_disconnect
from consent.public_lists.host_rules import read_host_rules
from consent.public_lists.open_cookie_database import NAME, PLATFORM, read_open_cookie_database
from consent.public_lists.reading import Draft, Entry, ListedVendor, Progress, Skipped, SourceFile, one_line

EASYPRIVACY, DISCONNECT, OPEN_COOKIE_DATABASE = FORMATS = (
    "easyprivacy",
    "disconnect",
    "open-cookie-database",
)
MAX_PATTERNS_OF_HOST = 1_000
"""URL patterns about one host: every look-up there may compare with all of them."""
MAX_WILDCARDS = 2_000
"""Names of cookies with a wildcard, likewise."""
_MANY_PATTERNS = f"more than {MAX_PATTERNS_OF_HOST:,} rules about paths of one host"
_MANY_WILDCARDS = f"more than {MAX_WILDCARDS:,} wildcards"
_MAX_ID = 40
_SNIFFED = 4096
_LOOKED_AT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """What became of a list."""

    name: str
    format: str
    licence: str
    version: str
    files: tuple[str, ...]
    read: int
    """Rules in the list. Each is in one of the counts below."""
    taken: int
    known: int
    """The built-in catalog has an answer for what they are about."""
    repeated: int
    excepted: int
    let_through: int
    without_effect: int
    skipped: dict[str, Skipped]
    """By reason, the most frequent first."""
    vendors: tuple[Vendor, ...]
    toml: str
    """The file for the policy."""

    @property
    def not_taken(self) -> int:
        """How many rules say what ours cannot say, or something that is not for them."""
        return sum(each.count for each in self.skipped.values())

    @property
    def rules(self) -> int:
        """How many hosts, URL patterns and cookies there are in the file."""
        return sum(len(each.hosts) + len(each.urls) + len(each.cookies) for each in self.vendors)


def detect(file: SourceFile) -> str:
    """Return the format of a list.

    Raises:
        ConfigurationError: it is none of those known.
    """
    start = file.text.lstrip()[:_SNIFFED]
    if start.startswith("{"):
        return DISCONNECT
    header = start.partition("\n")[0]
    if NAME in header and PLATFORM in header:
        return OPEN_COOKIE_DATABASE
    if start.startswith("["):
        return EASYPRIVACY
    draft = read_host_rules(
        [replace(file, text="\n".join(file.text.split("\n", _LOOKED_AT)[:_LOOKED_AT]))], _unseen
    )
    if draft.entries or draft.excepted or draft.without_effect:
        return EASYPRIVACY
    raise ConfigurationError(
        f"nobody can tell which list this is: say it with --as, one of {', '.join(FORMATS)}", source=file.name
    )


def _unseen(done: int) -> None:
    """Nobody waits."""


def import_list(
    files: Sequence[SourceFile],
    known: Catalog,
    *,
    kind: str | None = None,
    name: str = "",
    category: Category | None = None,
    content: bool = False,
    today: date,
    progress: Progress = _unseen,
) -> Import:
    """Read a list and write the file for the policy.

    Args:
        files: the list, in one file or several.
        known: what the built-in catalog knows, which is not taken again.
        kind: one of :data:`FORMATS`; ``None``: it is found out.
        name: the list's; empty: as it names itself, or as its first file is named.
        category: of everything on a list that has no categories of its own.
        content: whether Disconnect's ``Content`` is taken.
        progress: is told of what was read, as :data:`~consent.public_lists.reading.Progress`.

    Raises:
        ConfigurationError: a file is not in the format, or there is too much in it.
    """
    kinds = {kind or detect(file) for file in files}
    if len(kinds) > 1:
        raise ConfigurationError(
            f"files of several lists ({', '.join(sorted(kinds))}): import one after the other"
        )
    (kind,) = kinds
    if category is not None and kind != EASYPRIVACY:
        raise ConfigurationError(
            "this list has categories of its own: leave --category out", source=files[0].name
        )
    if content and kind != DISCONNECT:
        raise ConfigurationError("only Disconnect's list has the category Content", source=files[0].name)
    if len(files) > 1 and kind != EASYPRIVACY:
        raise ConfigurationError("this list is one file: name that alone", source=files[1].name)
    if kind == EASYPRIVACY:
        draft = read_host_rules(files, progress, category=category or Category.TARGETING)
    elif kind == DISCONNECT:
        draft = read_disconnect(files[0], progress, content=content)
    else:
        draft = read_open_cookie_database(files[0], progress)
    if not draft.read:
        raise ConfigurationError("there are no rules in it: is this the list?", source=files[0].name)
    draft.name = one_line(name or draft.name, 80) or one_line(Path(files[0].name).stem, 80) or "list"
    taken, known_count, repeated = _new(draft, known)
    vendors = tuple(_vendors(draft, taken))
    toml = _toml(draft, kind, files, vendors, today)
    if len(toml.encode()) > MAX_LIST_BYTES:
        raise ConfigurationError(
            f"what is taken needs more than {MAX_LIST_BYTES:,} bytes: import a shorter list",
            source=files[0].name,
        )
    let_through = sum(entry.is_exception for entry in taken)
    return Import(
        name=draft.name,
        format=kind,
        licence=draft.licence,
        version=draft.version,
        files=tuple(file.name for file in files),
        read=draft.read,
        taken=len(taken) - let_through,
        known=known_count,
        repeated=repeated,
        excepted=draft.excepted,
        let_through=let_through,
        without_effect=draft.without_effect,
        skipped=dict(sorted(draft.skipped.items(), key=lambda item: -item[1].count)),
        vendors=vendors,
        toml=toml,
    )


def _new(draft: Draft, known: Catalog) -> tuple[list[Entry], int, int]:
    """Return what is neither known nor there twice, and how many entries were either."""
    seen: set[str] = set()
    crowded: Counter[str] = Counter()
    taken = []
    known_count = repeated = 0
    for entry in draft.entries:
        names = tuple(name for name in entry.names if name not in seen)
        if not names:
            repeated += 1
            continue
        seen.update(names)
        probe = known.unknown_of(
            Vendor(
                id="",
                name="",
                company="",
                country="",
                privacy_url="",
                category=entry.vendor.category,
                about="",
                hosts=tuple(name for name in names if entry.cookie is None and "/" not in name),
                urls=tuple(name for name in names if entry.cookie is None and "/" in name),
                cookies=(entry.cookie,) if entry.cookie else (),
            )
        )
        if not (probe.hosts or probe.urls or probe.cookies):
            known_count += 1
            continue
        crowds = [url.partition("/")[0] for url in probe.urls] or [
            "*" for each in probe.cookies if "*" in each.name
        ]
        crowded.update(crowds)
        if any(
            crowded[crowd] > (MAX_WILDCARDS if crowd == "*" else MAX_PATTERNS_OF_HOST) for crowd in crowds
        ):
            draft.skip(_MANY_PATTERNS if probe.urls else _MANY_WILDCARDS, entry.place)
            continue
        taken.append(replace(entry, rules=(*probe.hosts, *probe.urls)))
    return taken, known_count, repeated


def _vendors(draft: Draft, taken: Iterable[Entry]) -> Iterable[Vendor]:
    """Yield whom a list names, each with what is its own, in the order of the list."""
    grouped: dict[tuple[str, Category], list[Entry]] = {}
    for entry in taken:
        grouped.setdefault((entry.vendor.name, entry.vendor.category), []).append(entry)
    ids: set[str] = set()
    for (name, category), entries in grouped.items():
        first = entries[0].vendor
        rules = [rule for entry in entries for rule in entry.rules]
        yield Vendor(
            id=_id(draft, first, ids),
            name=name or draft.name,
            company=first.company,
            country="",
            privacy_url=first.privacy_url,
            category=category,
            about="",
            hosts=tuple(rule for rule in rules if "/" not in rule),
            urls=tuple(rule for rule in rules if "/" in rule),
            cookies=tuple(entry.cookie for entry in entries if entry.cookie),
            listed_by=draft.name,
        )


def _id(draft: Draft, vendor: ListedVendor, ids: set[str]) -> str:
    made = LIST_PREFIX + (_slug(draft.name) or "of-hosts")
    if vendor.name:
        made += "-" + (_slug(vendor.name) or "vendor")
    elif vendor.category is Category.STRICTLY_NECESSARY and ids:
        made += "-let-through"
    if made in ids:
        made += f"-{vendor.category}"
    number = 2
    unique = made
    while unique in ids:
        unique, number = f"{made}-{number}", number + 1
    ids.add(unique)
    return unique


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:_MAX_ID].strip("-")


HEAD_LINE = '# A site\'s own copy of a public list, as "consent catalog import" read it.'
"""What such a file begins with."""
_HEAD = f"""\
{HEAD_LINE} Name this file in the policy:
#     lists = ["…"]
# The list is its authors' work, under their licence, which is not that of the program:
#     {{licence}}
"""


def _toml(
    draft: Draft, kind: str, files: Sequence[SourceFile], vendors: Iterable[Vendor], today: date
) -> str:
    lines = [_HEAD.format(licence=draft.licence), "[list]"]
    head = {"name": draft.name, "format": kind, "licence": draft.licence, "version": draft.version}
    lines += [f"{key} = {_quoted(value)}" for key, value in head.items() if value]
    lines.append(
        f"files = [{', '.join(_quoted(one_line(Path(file.name).name, 200) or '-') for file in files)}]"
    )
    lines.append(
        f"sha256 = [{', '.join(_quoted(digest) for digest in dict.fromkeys(f.digest for f in files))}]"
    )
    lines.append(f"imported = {today.isoformat()}")
    for vendor in vendors:
        lines += ["", "[[vendor]]"]
        told = {
            "id": vendor.id,
            "name": vendor.name,
            "company": vendor.company,
            "privacy": vendor.privacy_url,
        }
        lines += [f"{key} = {_quoted(value)}" for key, value in told.items() if value]
        lines.append(f"category = {_quoted(vendor.category)}")
        for key, rules in (("hosts", vendor.hosts), ("urls", vendor.urls)):
            if rules:
                lines += [f"{key} = [", *(f"  {_quoted(rule)}," for rule in rules), "]"]
        for cookie in vendor.cookies:
            lines += ["", "[[vendor.cookie]]"]
            told = {"name": cookie.name, "purpose": cookie.purpose, "lifetime": cookie.lifetime}
            lines += [f"{key} = {_quoted(value)}" for key, value in told.items() if value]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    # What has nothing to escape is read ten times as fast between single quotes.
    if "'" not in text and text.isprintable():
        return f"'{text}'"
    return json.dumps(text, ensure_ascii=not text.isprintable())
