"""Reading vendors from TOML, strictly: what is not understood is refused, with the place and the remedy."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from consent.catalog.matching import STEM, Catalog
from consent.catalog.model import Area, Cookie, InlineSignature, Party, StorageKey, Vendor
from consent.catalog.packed import FILE, read_packed
from consent.catalog.script_text import ScriptText
from consent.catalog.signatures import PatternError, compile_signature
from consent.categories import Category
from consent.errors import ConfigurationError
from consent.toml_file import TomlFile

_BUILT_IN = Path(__file__).resolve().parent / "vendors"
_MAX_FILE_BYTES = 1024 * 1024
_MAX_TEXT = 500
_MAX_SNIPPET = 4000
MAX_NAME = 200
"""Characters of a cookie's name, or of a key in storage."""
OUR_COOKIES = (
    "consent",
    "consent_taken",
    "consent_taken_*",
    "consent_no_*",
    "consent_variant",
    "consent_group",
    "__Host-consent_group",
)
"""The names of those that keep a visitor's answer. Whoever deletes one makes a no into silence."""

_ID = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_LABEL = r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}\.)+(?!\d+\Z){_LABEL}")
_PRINTABLE = re.compile(r"[\x21-\x7e]+")
_COUNTRY = re.compile(r"[A-Z]{2}")

# Suffixes under which strangers register or host names: a rule for one of them would be about everybody
# there. Not the whole public suffix list, only what somebody might plausibly write by mistake.
_SECOND_LEVEL = frozenset(("ac", "co", "com", "edu", "go", "gob", "gov", "ne", "net", "or", "org"))
_SHARED = frozenset(
    (
        "akamaihd.net", "amazonaws.com", "appspot.com", "azureedge.net", "azurewebsites.net", "b-cdn.net",
        "blogspot.com", "cloudfront.net", "fastly.net", "firebaseapp.com", "github.io", "gitlab.io",
        "herokuapp.com", "netlify.app", "onrender.com", "pages.dev", "run.app", "s3.amazonaws.com",
        "vercel.app", "web.app", "workers.dev",
    )
)  # fmt: skip


def load_catalog(folder: Path | None = None) -> Catalog:
    """Return the catalog in ``folder``, every ``*.toml`` in it, by default the built-in one.

    Each folder is read and compiled once per process. Of the built-in one an installed package has a
    packed form, which is read instead.

    Raises:
        ConfigurationError: a file is wrong, or there is none.
    """
    return _load_built_in() if folder is None else _load_folder(folder.resolve())


@cache
def _load_built_in() -> Catalog:
    file = _BUILT_IN / FILE
    return read_packed(file) if file.exists() else _load_folder(_BUILT_IN)


@cache
def _load_folder(folder: Path) -> Catalog:
    paths = sorted(folder.glob("*.toml"))
    if not paths:
        raise ConfigurationError("no vendor files (*.toml) in this folder", source=str(folder))
    vendors: list[Vendor] = []
    origins: dict[str, str] = {}
    for path in paths:
        for vendor in _read_file(path):
            other = origins.setdefault(vendor.id, path.name)
            if other != path.name:
                raise ConfigurationError(
                    f"the id {vendor.id!r} is taken by a vendor in {other}: rename one of them",
                    source=str(path),
                    key=f"vendor.{vendor.id}.id",
                )
            vendors.append(vendor)
    try:
        return Catalog(vendors)
    except ConfigurationError as error:
        vendor_id = (error.key or "").split(".")[1]
        raise ConfigurationError(
            error.message, source=str(folder / origins[vendor_id]), key=error.key
        ) from None


def _read_file(path: Path) -> tuple[Vendor, ...]:
    document = TomlFile(path, max_bytes=_MAX_FILE_BYTES)
    for key in document.data:
        if key != "vendor":
            raise document.error((key,), "unknown key: a vendor file has [[vendor]] tables only")
    vendors = parse_vendors(document.data, document.source)
    if not vendors:
        raise ConfigurationError("no [[vendor]] table: add one, or remove the file", source=document.source)
    return vendors


def parse_vendors(data: Mapping[str, Any], source: str) -> tuple[Vendor, ...]:
    """Turn the ``[[vendor]]`` tables of a parsed TOML document into vendors.

    Other top-level keys of ``data`` are the caller's. Positions in an error's key count from 0:
    ``vendor[2].cookie[0].party``.

    Raises:
        ConfigurationError: with ``source``, the dotted key and the remedy.
    """
    document = Table(data, source, "")
    vendors = tuple(_vendor(table) for table in document.tables("vendor"))
    seen: set[str] = set()
    for position, vendor in enumerate(vendors):
        if vendor.id in seen:
            raise ConfigurationError(
                f"a second vendor with the id {vendor.id!r}: rename it, or merge the two",
                source=source,
                key=f"vendor[{position}].id",
            )
        seen.add(vendor.id)
    return vendors


class Table:
    """One TOML table, its place in the file, and the typed reading of its keys."""

    __slots__ = ("_data", "_place", "_source")

    def __init__(self, data: Mapping[str, Any], source: str, place: str) -> None:
        self._data = data
        self._source = source
        self._place = place

    def error(self, key: str, message: str) -> ConfigurationError:
        return ConfigurationError(
            message, source=self._source, key=f"{self._place}.{key}" if self._place else key
        )

    def only(self, *known: str) -> None:
        for key in self._data:
            if key not in known:
                raise self.error(key, f"unknown key: known are {', '.join(known)}")

    def has(self, key: str) -> bool:
        return key in self._data

    def tables(self, key: str) -> Sequence[Table]:
        value = self._data.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            bare = re.sub(r"\[\d+\]", "", f"{self._place}.{key}".lstrip("."))
            raise self.error(key, f"must be an array of tables: write [[{bare}]]")
        place = f"{self._place}.{key}" if self._place else key
        return [Table(item, self._source, f"{place}[{position}]") for position, item in enumerate(value)]

    def text(self, key: str, *, default: str | None = None, limit: int = _MAX_TEXT) -> str:
        value = self._data.get(key, default)
        if value is None:
            raise self.error(key, f'missing: add {key} = "…"')
        if not isinstance(value, str):
            raise self.error(key, "must be text in quotes")
        self.check_text(key, value, limit)
        return value

    def check_text(self, key: str, value: str, limit: int) -> None:
        if not value.strip() or value != value.strip():
            raise self.error(key, "must not be empty or begin or end with blanks")
        if len(value) > limit:
            raise self.error(key, f"must be at most {limit} characters long")

    def texts(self, key: str, *, limit: int = _MAX_TEXT, required: bool = False) -> tuple[str, ...]:
        value = self._data.get(key)
        if value is None and not required:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(key, f'must be a list of texts: {key} = ["…", "…"]')
        if required and not value:
            raise self.error(key, "must name at least one")
        seen: set[str] = set()
        for position, item in enumerate(value):
            self.check_text(f"{key}[{position}]", item, limit)
            if item in seen:
                raise self.error(f"{key}[{position}]", f"{item!r} is there twice: remove one")
            seen.add(item)
        return tuple(value)

    def one_of(self, key: str, known: Sequence[str], *, default: str | None = None) -> str:
        value = self.text(key, default=default)
        if value not in known:
            raise self.error(key, f"{value!r} is none of {', '.join(known)}")
        return value

    def flag(self, key: str, *, default: bool = False) -> bool:
        value = self._data.get(key, default)
        if not isinstance(value, bool):
            raise self.error(key, "must be true or false")
        return value

    def checked(self, key: str, check: Callable[[str], str | None]) -> tuple[str, ...]:
        """Return a list of texts of which ``check`` found nothing wrong."""
        values = self.texts(key)
        for position, value in enumerate(values):
            if wrong := check(value):
                raise self.error(f"{key}[{position}]", f"{value!r} {wrong}")
        return values


def _vendor(table: Table) -> Vendor:
    table.only(
        "id", "name", "company", "country", "privacy", "opt_out", "category", "about", "hosts", "urls", "inline",
        "cookie", "storage",
    )  # fmt: skip
    vendor_id = table.text("id", limit=60)
    if not _ID.fullmatch(vendor_id):
        raise table.error(
            "id", f"{vendor_id!r} must be lower-case letters, digits and hyphens: 'example-chat'"
        )
    country = table.text("country")
    if not _COUNTRY.fullmatch(country):
        raise table.error("country", f"{country!r} must be a two-letter country code: 'DE'")
    privacy_url = web_address(table, "privacy")
    opt_out_url = web_address(table, "opt_out") if table.has("opt_out") else ""
    cookies = tuple(_cookie(item) for item in table.tables("cookie"))
    _refuse_repeats(table, "cookie", [(cookie.name, cookie.party) for cookie in cookies])
    storage = tuple(_storage_key(item) for item in table.tables("storage"))
    _refuse_repeats(table, "storage", [(item.key, item.area) for item in storage])
    vendor = Vendor(
        id=vendor_id,
        name=table.text("name", limit=100),
        company=table.text("company", limit=100),
        country=country,
        privacy_url=privacy_url,
        category=Category(table.one_of("category", tuple(Category))),
        about=table.text("about", limit=300),
        hosts=table.checked("hosts", wrong_host),
        urls=table.checked("urls", wrong_url_pattern),
        inline=tuple(_inline(item) for item in table.tables("inline")),
        cookies=cookies,
        storage=storage,
        opt_out_url=opt_out_url,
    )
    if not (vendor.hosts or vendor.urls or vendor.inline or vendor.cookies or vendor.storage):
        raise table.error("hosts", "nothing would ever match this vendor: add hosts, urls or cookies")
    return vendor


def web_address(table: Table, key: str) -> str:
    """Read the address of a page."""
    url = table.text(key)
    if not is_web_address(url):
        raise table.error(key, f"{url!r} must be the address of a page: 'https://…'")
    return url


def is_web_address(text: str) -> bool:
    """Tell whether ``text`` is the address of a page that visitors can be referred to."""
    try:
        parts = urlsplit(text)
        return parts.scheme == "https" and bool(parts.hostname) and bool(_PRINTABLE.fullmatch(text))
    except ValueError:
        return False


def _refuse_repeats(table: Table, key: str, names: Sequence[tuple[str, str]]) -> None:
    seen: set[tuple[str, str]] = set()
    for position, name in enumerate(names):
        if name in seen:
            raise table.error(f"{key}[{position}]", f"{name[0]!r} is there twice: remove one")
        seen.add(name)


def _cookie(table: Table) -> Cookie:
    table.only("name", "purpose", "lifetime", "party", "http_only")
    return Cookie(
        name=named(table, "name"),
        purpose=table.text("purpose"),
        lifetime=table.text("lifetime", limit=60),
        party=cast(Party, table.one_of("party", ("first", "third"), default="first")),
        http_only=table.flag("http_only"),
    )


def _storage_key(table: Table) -> StorageKey:
    table.only("key", "area", "purpose")
    return StorageKey(
        key=named(table, "key"),
        area=cast(Area, table.one_of("area", ("local", "session", "indexeddb"), default="local")),
        purpose=table.text("purpose"),
    )


def named(table: Table, key: str) -> str:
    """Read a cookie name or storage key, which may have one wildcard."""
    name = table.text(key, limit=MAX_NAME)
    if wrong := (wrong_cookie_name if key == "name" else _wrong_wildcard)(name):
        raise table.error(key, f"{name!r} {wrong}")
    return name


def wrong_cookie_name(name: str) -> str | None:
    """Say what is wrong with the name of a cookie, which may have one wildcard, or nothing."""
    if not _PRINTABLE.fullmatch(name) or re.search(r'[;,="\\]', name):
        return "is not a cookie name (RFC 6265, section 4.1.1)"
    if wrong := _wrong_wildcard(name):
        return wrong
    if ours := cookie_of_ours(name):
        return f"is the name of a cookie that keeps the visitor's answer, {ours}: it must never be deleted"
    return None


def cookie_of_ours(name: str) -> str | None:
    """Return which of :data:`OUR_COOKIES` a name, which may have one wildcard, matches; ``None``: none of them."""
    stem, star, rest = name.partition("*")
    for ours in OUR_COOKIES:
        kept, any_more, _ = ours.partition("*")
        if any_more:
            is_ours = stem.startswith(kept) or bool(star and kept.startswith(stem))
        else:
            is_long_enough = len(ours) >= len(stem + rest)
            is_ours = name == ours or bool(
                star and is_long_enough and ours.startswith(stem) and ours.endswith(rest)
            )
        if is_ours:
            return ours
    return None


def _wrong_wildcard(name: str) -> str | None:
    stem, star, rest = name.partition("*")
    if "*" in rest:
        return "has more than one '*': keep one"
    if star and len(stem) < STEM:
        return f"would match too much: write at least {STEM} characters before the '*'"
    return None


def _inline(table: Table) -> InlineSignature:
    table.only("pattern", "example", "benign")
    pattern = table.text("pattern")
    example = table.text("example", limit=_MAX_SNIPPET)
    benign = table.texts("benign", limit=_MAX_SNIPPET, required=True)
    try:
        signature = compile_signature(pattern)
    except PatternError as error:
        raise table.error("pattern", f"{pattern!r} {error}") from None
    if not signature.found_in(example, ScriptText):
        raise table.error("example", f"the pattern {pattern!r} does not match it: correct one of the two")
    for position, text in enumerate(benign):
        if signature.found_in(text, ScriptText):
            raise table.error(
                f"benign[{position}]", f"the pattern {pattern!r} matches it: narrow the pattern"
            )
    return InlineSignature(pattern=pattern, example=example, benign=benign)


def wrong_host(host: str, *, with_path: bool = False) -> str | None:
    """Say what is wrong with a host rule, or nothing. With a path, names shared by many are fine."""
    if "*" in host:
        return "must not have a '*': a host stands for its subdomains already"
    if "/" in host:
        return "has a path: move it to urls"
    if not _HOST.fullmatch(host) or len(host) > 253:
        return "is not a host: write a lower-case domain name without scheme or port (an IDN as 'xn--…')"
    labels = host.split(".")
    is_suffix = len(labels) == 2 and len(labels[1]) == 2 and labels[0] in _SECOND_LEVEL
    if is_suffix or (host in _SHARED and not with_path):
        return "belongs to everybody who has a name under it: write the vendor's own name"
    return None


def wrong_url_pattern(pattern: str) -> str | None:
    """Say what is wrong with a URL pattern, or nothing."""
    host, slash, rest = pattern.partition("/")
    if "://" in pattern or pattern.startswith("//"):
        return "must begin with the host, without a scheme: 'example.com/path*'"
    if not slash:
        return "has no path: move it to hosts"
    if host in ("", "*"):
        return _wrong_path_pattern(host, rest)
    if "*" in host:
        return "must not have a '*' in its host: a host stands for its subdomains already"
    if wrong := wrong_host(host, with_path=True):
        return f"(host {host!r}) {wrong}"
    path, _, query = rest.partition("?")
    if not path.strip("*/") and not query:
        return "covers the whole host: move the host to hosts"
    return _wrong_rest(rest)


def _wrong_path_pattern(folder: str, rest: str) -> str | None:
    """Say what is wrong with a URL pattern that is about every host, or nothing."""
    path = rest.partition("?")[0]
    begins_free = folder == "*" or path.startswith("*")
    if not path:
        return "covers every host: name a path"
    # What is looked at first is the last name in a path, and where there is none how the path begins.
    ends_free = "*" in path.rpartition("/")[2] or path.endswith("/")
    if ends_free and (begins_free or not re.match(r"[^*/]{2,}/", path)):
        return "is about every host: write a whole name at its end, or whole folders at its beginning"
    return _wrong_rest(rest)


def _wrong_rest(rest: str) -> str | None:
    """Say what is wrong with what follows the host of a URL pattern, or nothing."""
    if (rest and not _PRINTABLE.fullmatch(rest)) or "#" in rest or rest.count("?") > 1:
        return "must be printable ASCII, with at most one '?' and no '#'"
    _, question, query = rest.partition("?")
    if question and not all(re.fullmatch(r"[^=*&]+=[^=]*", part) for part in query.split("&")):
        return "must name its query parameters: '?name=value' or '?name=value*&other=*'"
    return None
