"""Looking at a site's templates, pages and own files before anybody serves them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from consent.catalog import Catalog
from consent.categories import Category
from consent.check import MAX_PAGE_BYTES, CheckError, Item, item_of
from consent.decision import decide
from consent.enforcement import MAX_FINDINGS
from consent.explain import NOWHERE
from consent.html.urls import PageURL
from consent.located import Located, Unscreened, located
from consent.own_files import file_kind
from consent.parts import Part, part_at
from consent.policy import Policy
from consent.signals import Signals
from consent.template_syntax import readings

_TYPES = {
    ".html": b"text/html",
    ".htm": b"text/html",
    ".xhtml": b"application/xhtml+xml",
    ".svg": b"image/svg+xml",
    ".css": b"text/css",
    ".js": b"text/javascript",
    ".mjs": b"text/javascript",
}
_TEMPLATE_SUFFIXES = (".jinja", ".jinja2", ".j2")
_NOT_SITES = frozenset(("node_modules", "__pycache__"))
_MAX_DEPTH = 64
_MAX_FILES = 20_000


@dataclass(frozen=True, slots=True)
class PlacedItem(Item):
    """One thing found in a file."""

    line: int
    """1-based."""


@dataclass(slots=True)
class FileCheck:
    """What of others is in one file."""

    file: str
    undeclared: list[PlacedItem] = field(default_factory=list)
    """Trackers that need consent, of vendors that the policy does not declare: visitors are not told of them."""
    declared: list[PlacedItem] = field(default_factory=list)
    """Trackers of declared vendors: the middleware keeps them back until somebody allows them."""
    allowed: list[PlacedItem] = field(default_factory=list)
    """Known third parties that need no consent, and what the policy names."""
    unclassified: list[PlacedItem] = field(default_factory=list)
    """Third-party content that no catalog entry explains, and what cannot be read to its end."""
    skipped: str = ""
    """Why nobody looked into it, if so."""


def files_in(folder: Path) -> Iterator[Path]:
    """Yield the pages, templates, style sheets and scripts below ``folder``, in the order of their names.

    Symbolic links are not followed. Hidden folders and ``node_modules`` are passed over.

    Raises:
        CheckError: there are none, or too many to be a site's own, or a folder cannot be read.
    """

    def unreadable(error: OSError) -> None:
        raise CheckError(f"{error.filename} cannot be read: {error.strerror}")

    count = 0
    for place, folders, names in os.walk(folder, onerror=unreadable):
        if len(Path(place).parts) - len(folder.parts) > _MAX_DEPTH:
            raise CheckError(
                f"{folder} is nested deeper than {_MAX_DEPTH} folders: name the folders of templates"
            )
        folders[:] = sorted(name for name in folders if name not in _NOT_SITES and not name.startswith("."))
        for name in sorted(names):
            path = Path(place, name)
            if _content_type(path) and not path.is_symlink() and path.is_file():
                count += 1
                if count > _MAX_FILES:
                    raise CheckError(
                        f"{folder} has more than {_MAX_FILES} files: name the folders of templates"
                    )
                yield path
    if not count:
        raise CheckError(f"{folder} has no page, template, style sheet or script")


def check_file(path: Path, *, catalog: Catalog, policy: Policy, url: PageURL = NOWHERE) -> FileCheck:
    """Read a file as the middleware reads what becomes of it, and say what of others is in it. A huge one is skipped.

    What its name does not tell the kind of is read as a page. ``{{ … }}``, ``{% … %}`` and ``{# … #}`` of a page
    or template are put out of the way first; nothing is executed.

    Args:
        url: where the page will be: what loads from that site is its own, and the rules about it count.

    Raises:
        CheckError: it cannot be read.
    """
    if path.exists() and not path.is_file():
        raise CheckError(f"{path} is no file")
    try:
        with path.open("rb") as opened:
            data = opened.read(MAX_PAGE_BYTES + 1)
    except OSError as error:
        raise CheckError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > MAX_PAGE_BYTES:
        return FileCheck(str(path), skipped=f"larger than {MAX_PAGE_BYTES >> 20} MiB")
    part = part_at(policy, catalog, url)
    content_type = _content_type(path) or b"text/html"
    is_template = path.name.lower().endswith(_TEMPLATE_SUFFIXES) or not file_kind(content_type)
    found: dict[tuple[int, str, str, str | None], Located] = {}
    try:
        for reading in readings(data) if is_template else [data]:
            for each in _found(reading, content_type, part.catalog, url):
                found.setdefault(_same(each), each)
    except Exception as error:
        raise CheckError(f"{path} cannot be read: {error or type(error).__name__}") from None
    return _sorted(str(path), found.values(), part)


def _content_type(path: Path) -> bytes | None:
    name = path.name.lower()
    is_template = False
    for suffix in _TEMPLATE_SUFFIXES:
        if name.endswith(suffix):
            name, is_template = name.removesuffix(suffix), True
            break
    kind = _TYPES.get(os.path.splitext(name)[1])
    # "base.jinja" and "mail.txt.j2" alike: what a template is for, its name need not tell.
    return b"text/html" if kind is None and is_template else kind


def _found(data: bytes, content_type: bytes, catalog: Catalog, url: PageURL) -> list[Located]:
    # By the strictest rules there are, whatever the site's: each tracker is found each time.
    page = Unscreened(catalog, decide(Policy(), Signals()), url)
    found = located(data, content_type, page, catalog.evidence)
    if page.uncounted:
        raise CheckError(f"there are more than {MAX_FINDINGS} trackers and third parties in it")
    return found


def _same(each: Located) -> tuple[int, str, str, str | None]:
    """Return what tells whether the same thing was found in another reading."""
    finding = each.finding
    vendor = finding.vendor.id if finding.vendor else None
    return each.line, finding.kind, finding.subject.partition("/")[0], vendor


def _sorted(name: str, found: Iterable[Located], part: Part) -> FileCheck:
    result = FileCheck(name)
    declared = {vendor.id for vendor in part.policy.vendors}
    for line, finding in sorted(found, key=lambda each: each.line):
        item = item_of(finding)
        placed = PlacedItem(**asdict(item), line=line)
        if item.vendor is None:
            (result.allowed if part.explains(finding) else result.unclassified).append(placed)
        elif item.category == Category.STRICTLY_NECESSARY:
            result.allowed.append(placed)
        elif item.vendor in declared:
            result.declared.append(placed)
        else:
            result.undeclared.append(placed)
    return result
