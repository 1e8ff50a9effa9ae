"""One site's rules, as a file: ``consent.toml``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from consent import policy_rules as rules
from consent.catalog import Catalog, CatalogList, Vendor, parse_vendors, read_list
from consent.catalog.lists import LIST_PREFIX
from consent.catalog.loading import wrong_host, wrong_url_pattern
from consent.categories import Category
from consent.errors import ConfigurationError
from consent.interface_rules import INTERFACE_RULES
from consent.policy import SECTION_FIELDS, OwnCookie, Policy, Rule, with_additions
from consent.toml_file import Place, TomlFile, dotted, undotted
from consent.value_rules import (
    MAX_LISTED,
    Wrong,
    a_filled_line,
    a_flag,
    a_line,
    a_text,
    all_different,
    kind_of,
    list_of,
    listed,
    suggestion,
)

MAX_POLICY_BYTES = 1 << 20
"""A longer policy file is not read: a real one has a few kilobytes."""

# Where each field of a policy stands in the file.
_FIELDS: Mapping[Place, str] = {
    ("regime",): "regime",
    ("jurisdiction",): "jurisdiction",
    ("jurisdictions",): "jurisdictions",
    ("children",): "children",
    ("group",): "group",
    ("declare_seen",): "declare_seen",
    ("site", "name"): "site",
    ("site", "controller"): "controller",
    ("site", "contact"): "contact",
    ("site", "privacy_url"): "privacy_url",
    ("site", "language"): "language",
    ("site", "languages"): "languages",
    ("site", "language_paths"): "language_paths",
    ("site", "opt_out_links"): "opt_out_links",
    ("signals", "opt_out_refuses"): "opt_out_refuses",
    ("signals", "gpc_refuses"): "gpc_refuses",
    ("signals", "dnt_refuses"): "dnt_refuses",
    ("choice", "days"): "choice_days",
    ("choice", "domain"): "choice_domain",
    ("banner", "layout"): "layout",
    ("retention", "days"): "retention_days",
    ("retention", "jurisdictions"): "retention_jurisdictions",
    ("office", "classified"): "classified",
    ("office", "holidays"): "holidays",
    ("enforcement", "refused"): "refused",
    ("enforcement", "embeds"): "embeds",
    ("enforcement", "unclassified"): "unclassified",
    ("enforcement", "cache"): "cache",
    ("enforcement", "csp"): "csp",
    ("enforcement", "csp_allow"): "csp_allow",
}
_COOKIE_RULES: Mapping[str, Callable[[object], object]] = {
    "name": rules.a_cookie_name,
    "purpose": a_filled_line,
    "lifetime": a_filled_line,
    "category": rules.a_category,
    "http_only": a_flag,
}
_COOKIE_NEEDS = {
    "name": "a name",
    "purpose": "a purpose, a sentence that visitors understand",
    "lifetime": 'a lifetime, such as "session" or "30 days"',
    "category": f"a category, one of {listed(Category)}",
}
_OVERRIDE_RULES: Mapping[str, Callable[[object], Any]] = {
    "category": rules.a_category,
    "hosts": list_of("hosts", wrong_host),
    "urls": list_of("URL patterns", wrong_url_pattern),
}
_RULE_RULES: Mapping[str, Callable[[object], Any]] = {
    "hosts": rules.ruled_hosts,
    "paths": rules.ruled_paths,
    "policy": a_filled_line,
    **{name: rules.RULES[name] for name in SECTION_FIELDS},
}
_MAX_RULES = 100
_SECTIONS = ("site", "signals", "choice", "banner", "retention", "office", "enforcement", "interfaces")
_TOP = (
    "regime",
    "jurisdiction",
    "jurisdictions",
    "children",
    "group",
    "declare",
    "declare_seen",
    "lists",
    *_SECTIONS,
    "cookie",
    "vendor",
    "override",
    "rule",
    "texts",
    "sentences",
)
_INTERFACES: tuple[Place, ...] = tuple(("interfaces", key) for key in INTERFACE_RULES)
_PLACES: tuple[Place, ...] = (("declare",), ("lists",), *_FIELDS, *_INTERFACES)


def load_policy(
    path: str | Path, catalog: Catalog, *, classified: str | Path | None = None
) -> tuple[Policy, Catalog]:
    """Read a policy file, and return the policy with the catalog that it is to be used with.

    The file is TOML, in UTF-8, at most 1 MiB. Everything in it is optional; its keys are in docs/configuration.md.

    The catalog returned is ``catalog`` with the file's vendors, with the site's own cookies as vendors of their
    categories (`own_cookie_vendors`), so that they are refused and expired like all others, and with what the lists
    say that it names.

    Args:
        path: The file.
        catalog: What is known of vendors without it.
        classified: Stands for the file that ``office.classified`` names, to see whether it would do.

    Raises:
        ConfigurationError: the file cannot be read, or something in it is wrong; with the file, the 1-based
            line, the dotted key, and what to do. The app must not start with it.
    """
    known = catalog
    document = _PolicyFile(path, max_bytes=MAX_POLICY_BYTES)
    document.check_keys((), _TOP)
    for section in _SECTIONS:
        document.check_keys((section,), [str(where[1]) for where in _PLACES if where[0] == section])
    values: dict[str, Any] = {}
    for where, name in _FIELDS.items():
        found = document.find(where)
        if found is not None:
            values[name] = document.checked(where, found, rules.RULES[name])
    if (place := values.get("jurisdictions")) is not None and place.database:
        database = str(Path(document.source).parent / place.database)
        values["jurisdictions"] = replace(place, database=database)
    if values.get("classified"):
        values["classified"] = str(Path(document.source).parent / values["classified"])
    told = {
        key: document.checked(("interfaces", key), found, INTERFACE_RULES[key])
        for key, found in document.table(("interfaces",)).items()
    }
    values["interfaces"] = document.checked(("interfaces",), told, rules.RULES["interfaces"])
    texts = document.table(("texts",))
    for key, found in texts.items():
        if isinstance(found, dict):
            document.checked(("texts", key), key, rules.a_language)
            for name, text in found.items():
                document.checked(("texts", key, name), text, a_text)
        else:
            document.checked(("texts", key), found, a_text)
    sentences = document.table(("sentences",))
    for tag in sentences:
        document.checked(("sentences", tag), tag, rules.a_language)
        for sentence, text in document.table(("sentences", tag)).items():
            document.checked(("sentences", tag, sentence), text, a_filled_line)

    additions = _read_vendors(document)
    try:
        catalog = catalog.with_vendors(additions)
    except ConfigurationError as error:
        raise document.located(error) from None
    office = _classified(classified or values.get("classified", ""))
    if office is not None:
        # Who describes a vendor in the policy itself has the last word.
        own = {vendor.id for vendor in additions}
        more = tuple(vendor for vendor in _read_vendors(office) if vendor.id not in own)
        try:
            catalog = catalog.with_vendors(more)
        except ConfigurationError as error:
            raise office.located(error) from None
    catalog = _with_overrides(document, catalog)
    declared = _declared(document, catalog, additions)
    if office is not None:
        told_of = {vendor.id for vendor in declared}
        later = _declared(office, catalog, more)
        declared = (*declared, *(vendor for vendor in later if vendor.id not in told_of))
    parts: dict[str, Any] = {
        "vendors": declared,
        "own_cookies": _read_cookies(document, catalog),
        "lists": _read_lists(document),
    }
    try:
        policy = Policy(**values, **parts, texts=texts, sentences=sentences)
    except ConfigurationError as error:
        # What does not go together.
        raise document.located(error) from None
    catalog = with_additions(catalog, policy)
    found_rules = tuple(_read_rules(document, policy, catalog, known))
    return (replace(policy, rules=found_rules) if found_rules else policy), catalog


def _read_rules(document: _PolicyFile, policy: Policy, catalog: Catalog, known: Catalog) -> Iterator[Rule]:
    """Read the ``[[rule]]`` tables of the file that ``policy`` and ``catalog`` come from."""
    tables = document.tables("rule")
    if len(tables) > _MAX_RULES:
        raise document.error(("rule", _MAX_RULES), f"at most {_MAX_RULES} rules can be told apart")
    places = []
    for index, table in enumerate(tables):
        where: Place = ("rule", index)
        document.check_keys(where, list(_RULE_RULES))
        values = {
            key: document.checked((*where, key), value, _RULE_RULES[key]) for key, value in table.items()
        }
        hosts, paths, file = (
            values.pop(key, empty) for key, empty in (("hosts", ()), ("paths", ()), ("policy", ""))
        )
        if not (hosts or paths):
            raise document.error(where, 'it is about everything: add hosts = ["…"] or paths = ["…"]')
        if (place := ({*hosts}, {*paths})) in places:
            raise document.error(
                where, "an earlier rule is about the same place, so that this one never counts"
            )
        places.append(place)
        if bool(file) is bool(values):
            raise document.error(where, f'must have either "policy" or some of {listed(SECTION_FIELDS)}')
        if not file:
            yield Rule(policy=replace(policy, **values), hosts=hosts, paths=paths, catalog=catalog)
            continue
        if paths:
            raise document.error(
                (*where, "policy"),
                f"a visitor has one choice for all of a host: below a path use {listed(SECTION_FIELDS)}",
            )
        other = Path(document.source).parent / file
        if any(
            "policy" in inner or "hosts" in inner
            for inner in _PolicyFile(other, max_bytes=MAX_POLICY_BYTES).tables("rule")
        ):
            raise document.error(
                (*where, "policy"), f'"{file}" has a rule with hosts of its own: move it into this file'
            )
        own, own_catalog = load_policy(other, known)
        yield Rule(policy=own, hosts=hosts, catalog=own_catalog)


def locate_in_policy(error: ConfigurationError, path: str | Path) -> ConfigurationError:
    """Return ``error``, raised by a later check of a policy's values, with the file and line of its key.

    For example the error of an override that `consent.texts.load_texts` refuses. Where the key is not in the
    file, or the file cannot be read any more, ``error`` is returned as it is.
    """
    try:
        return _PolicyFile(path, max_bytes=MAX_POLICY_BYTES).located(error)
    except ConfigurationError:
        return error


def _read_lists(document: _PolicyFile) -> tuple[CatalogList, ...]:
    paths = document.find(("lists",))
    if paths is None:
        return ()
    if not isinstance(paths, list):
        raise document.error(("lists",), f"must be a list of files, not {kind_of(paths)}")
    found = []
    for index, path in enumerate(paths):
        where: Place = ("lists", index)
        if index >= rules.MAX_LISTS:
            raise document.error(where, f"at most {rules.MAX_LISTS} lists can be used")
        document.checked(where, path, a_filled_line)
        try:
            found.append(read_list(Path(document.source).parent / path))
        except ConfigurationError as error:
            if error.line is not None:
                raise
            raise document.error(where, str(error)) from None
    return tuple(document.checked(("lists",), found, rules.RULES["lists"]))


def _classified(path: str | Path) -> _PolicyFile | None:
    """Return the file to which the office adds vendors; ``None`` as long as it has added none."""
    if not path or not Path(path).exists():
        return None
    document = _PolicyFile(path, max_bytes=MAX_POLICY_BYTES)
    for key in document.data:
        if key not in ("declare", "vendor"):
            raise document.error(
                (key,), "unknown key: what the office classified is declare and [[vendor]] only"
            )
    return document


def _read_vendors(document: _PolicyFile) -> tuple[Vendor, ...]:
    tables = document.tables("vendor")
    try:
        vendors = parse_vendors({"vendor": tables}, document.source)
    except ConfigurationError as error:
        raise document.located(error) from None
    for index, vendor in enumerate(vendors):
        for prefix, what in ((rules.OWN_PREFIX, "[[cookie]] tables"), (LIST_PREFIX, "what lists name")):
            if vendor.id.startswith(prefix):
                raise document.error(
                    ("vendor", index, "id"),
                    f'ids that start with "{prefix}" stand for {what}: choose another id',
                )
    return vendors


def _declared(document: _PolicyFile, catalog: Catalog, additions: tuple[Vendor, ...]) -> tuple[Vendor, ...]:
    """Resolve the ids of ``declare``; the file's own vendors follow, whether or not they are in it."""
    ids = document.find(("declare",))
    if ids is None:
        ids = []
    if not isinstance(ids, list):
        raise document.error(("declare",), f"must be a list of vendor ids, not {kind_of(ids)}")
    for index, vendor_id in enumerate(ids):
        document.checked(("declare", index), vendor_id, a_line)
        _vendor_named(document, ("declare", index), vendor_id, catalog)
    document.checked(("declare",), ids, lambda names: all_different("vendor", names))
    own = [vendor.id for vendor in additions if vendor.id not in ids]
    document.checked(("vendor",), [*ids, *own], lambda names: all_different("vendor", names))
    return tuple(catalog.vendors[vendor_id] for vendor_id in [*ids, *own])


def _vendor_named(document: _PolicyFile, where: Place, vendor_id: str, catalog: Catalog) -> Vendor:
    if vendor_id in catalog.vendors:
        return catalog.vendors[vendor_id]
    if vendor_id.startswith(LIST_PREFIX):
        raise document.error(
            where,
            "what a list names is nobody's to declare, since a list says too little for visitors: describe it in a "
            "[[vendor]] table, which wins over the list",
        )
    # People write the product's name as well as its id.
    by_name = {vendor.name.lower(): vendor.id for vendor in catalog.vendors.values()}
    known = by_name.get(vendor_id.lower())
    hint = f'did you mean "{known}"?' if known else suggestion(vendor_id, catalog.vendors)
    raise document.error(
        where, f'the catalog has no vendor "{vendor_id}": {hint} (or describe it in a [[vendor]] table)'
    )


def _with_overrides(document: _PolicyFile, catalog: Catalog) -> Catalog:
    """Return the catalog with what ``[override]`` says of its vendors."""
    changed: list[Vendor] = []
    for vendor_id in document.table(("override",)):
        where: Place = ("override", vendor_id)
        vendor = _vendor_named(document, where, vendor_id, catalog)
        document.check_keys(where, list(_OVERRIDE_RULES))
        values = {
            key: document.checked((*where, key), value, _OVERRIDE_RULES[key])
            for key, value in document.table(where).items()
        }
        for key in values.keys() & {"hosts", "urls"}:
            values[key] = tuple(dict.fromkeys((*getattr(vendor, key), *values[key])))
        changed.append(replace(vendor, **values))
    try:
        return catalog.with_vendors(changed) if changed else catalog
    except ConfigurationError as error:
        # Of two that claim the same the catalog names the later one, which may be one that nothing was said of.
        _, named, kind = (error.key or "").split(".")
        changed_ids = [vendor.id for vendor in changed]
        raise document.error(
            ("override", named if named in changed_ids else changed_ids[0], kind), error.message
        ) from None


def _read_cookies(document: _PolicyFile, catalog: Catalog) -> tuple[OwnCookie, ...]:
    cookies: list[OwnCookie] = []
    names: set[str] = set()
    tables = document.tables("cookie")
    if len(tables) > MAX_LISTED:
        raise document.error(("cookie", MAX_LISTED), f"at most {MAX_LISTED} cookies can be listed")
    for index, table in enumerate(tables):
        where: Place = ("cookie", index)
        document.check_keys(where, list(_COOKIE_RULES))
        for key in ("name", "purpose", "lifetime", "category"):
            if key not in table:
                raise document.error((*where, key), f"missing: every [[cookie]] has {_COOKIE_NEEDS[key]}")
        values = {key: document.checked((*where, key), table[key], _COOKIE_RULES[key]) for key in table}
        cookie = OwnCookie(**values)
        if cookie.name in names:
            raise document.error((*where, "name"), f'the cookie "{cookie.name}" is there twice: remove one')
        names.add(cookie.name)
        known = catalog.match_cookie(cookie.name)
        if known is not None and known.rule == cookie.name:
            raise document.error(
                (*where, "name"),
                f'the catalog has "{cookie.name}" as a cookie of {known.vendor.name}: declare '
                f'"{known.vendor.id}" instead, or rename the cookie',
            )
        cookies.append(cookie)
    return tuple(cookies)


class _PolicyFile(TomlFile):
    """A policy file, with the reading and the rules of its keys."""

    def located(self, error: ConfigurationError) -> ConfigurationError:
        """Return an error that knows only a key, of a `Policy` or `Catalog` too, with file and line."""
        if error.key is None or error.line is not None:
            return error
        places = [place for place, name in _FIELDS.items() if name == error.key]
        where = places[0] if places else undotted(error.key)
        # The catalog names a vendor by position while it reads the tables, and by id when it compares them.
        if len(where) > 1 and where[0] == "vendor" and isinstance(where[1], str):
            ids = [table.get("id") for table in self.tables("vendor")]
            if where[1] in ids:
                where = ("vendor", ids.index(where[1]), *where[2:])
        if self.line(where) is None:
            return error
        return self.error(where, error.message)

    def check_keys(self, where: Place, known: Collection[str]) -> None:
        for key in self.table(where):
            if key in known:
                continue
            elsewhere = [place for place in _PLACES if place[-1] == key]
            if elsewhere:
                section = dotted(elsewhere[0][:-1])
                there = f"below [{section}]" if section else "to the top, above the first [section]"
                raise self.error((*where, key), f"this key does not belong here: move it {there}")
            raise self.error((*where, key), f"unknown key: {suggestion(key, known)}")

    def checked(self, where: Place, value: object, rule: Callable[[Any], Any]) -> Any:
        try:
            return rule(value)
        except Wrong as error:
            raise self.error(where if error.index is None else (*where, error.index), str(error)) from None
