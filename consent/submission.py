"""A choice as a browser sends it: from a form or as JSON, read strictly."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

from consent import headers as fields
from consent.catalog import Catalog
from consent.categories import OPTIONAL, Category
from consent.choice import BrowserSignal
from consent.receipts import CollectionMethod

MAX_FIELDS = 400
MAX_RETURN_TO = 2048
"""Characters of path and query; a longer address leads back to the front page."""

_ACTIONS = frozenset({"accept", "refuse", "save", "allow", "withdraw", "opt-out"})
_FORMS = {"allow": CollectionMethod.EMBED_FORM, "opt-out": CollectionMethod.OPT_OUT_FORM}
_ORIGIN = re.compile(rb"https?://([^/]*)")
_LOCAL = re.compile(r"/(?![/\\])[^\x00-\x1f\x7f\\\ud800-\udfff]*")
"""JSON can name half of a surrogate pair, which no address can hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What was pressed and switched on, every part of it checked."""

    action: str
    """``accept``, ``refuse``, ``save``, ``allow``, ``withdraw`` or ``opt-out``."""
    categories: frozenset[Category]
    """The optional categories switched on."""
    vendors: Mapping[str, bool]
    """The answers for single vendors, by id; each is one that can be chosen."""
    told: frozenset[BrowserSignal]
    """The signals that the form told the visitor of."""
    shown: str | None
    """The hash of the text that the visitor saw, by the form's own account."""
    language: str
    """The language that the form was in, by its own account; empty where it does not say."""
    return_to: str
    """Where the visitor goes on: a path on this site, with query."""
    stay: bool
    """Whether that is by way of the page of choices."""
    method: CollectionMethod


def read_form(body: bytes, catalog: Catalog, *, prefix: str) -> Submission:
    """Read the body of one of the forms, ``application/x-www-form-urlencoded``.

    Args:
        body: The whole of it.
        catalog: Knows the vendors that can be chosen.
        prefix: Where the visitor endpoints are, to which nobody is led back.

    Raises:
        ValueError: a field is not known, is given twice, or has no such value.
    """
    fields = parse_qsl(
        body.decode("utf-8"),
        keep_blank_values=True,
        strict_parsing=True,
        errors="strict",
        max_num_fields=MAX_FIELDS,
    )
    single: dict[str, str] = {}
    told: list[str] = []
    for name, value in fields:
        if name == "told":
            told.append(value)
        elif name in single:
            raise ValueError(f"{name} is given twice")
        else:
            single[name] = value
    if "allow" in single:
        # The button of a placeholder, which says all in its one field.
        vendor, _, shown = single.pop("allow").partition(" ")
        if not single.keys().isdisjoint(("action", "shown", f"vendor.{vendor}")):
            raise ValueError("allow stands for action, shown and vendor")
        single |= {"action": "allow", "shown": shown, f"vendor.{vendor}": "on"}
    form = single.pop("form", "banner" if single.get("action") != "save" else "preferences")
    vendors = {
        name.removeprefix("vendor."): _switched(single.pop(name))
        for name in list(single)
        if name.startswith("vendor.")
    }
    return _submission(
        catalog,
        prefix,
        action=single.pop("action", ""),
        categories=[c for c in OPTIONAL if c in single and _switched(single.pop(c))],
        vendors=vendors,
        told=told,
        shown=single.pop("shown", None),
        language=single.pop("language", ""),
        return_to=single.pop("return_to", "/"),
        stay=_switched(single.pop("stay", "off")),
        method=CollectionMethod(f"{form}-form"),
        rest=single,
    )


def read_json(body: bytes, catalog: Catalog, *, prefix: str) -> Submission:
    """Read the same from JSON, as a page's own script sends it. The arguments are those of :func:`read_form`.

    Raises:
        ValueError: it is not JSON in UTF-8, or a member is not known, is given twice, or has no such value.
        RecursionError: it is nested too deeply.
    """
    content = json.loads(body.decode("utf-8"), object_pairs_hook=_unique)
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    vendors, told = content.pop("vendors", {}), content.pop("told", [])
    shown, return_to = content.pop("shown", None), content.pop("return_to", "/")
    language = content.pop("language", "")
    categories = [c for c in OPTIONAL if c in content and _boolean(content.pop(c))]
    if not isinstance(vendors, dict) or not isinstance(told, list):
        raise ValueError("vendors is an object, told a list")
    if not isinstance(shown, str | None) or not isinstance(return_to, str) or not isinstance(language, str):
        raise ValueError("shown, language and return_to are strings")
    return _submission(
        catalog,
        prefix,
        action=content.pop("action", ""),
        categories=categories,
        vendors={vendor: _boolean(allowed) for vendor, allowed in vendors.items()},
        told=told,
        shown=shown,
        language=language,
        return_to=return_to,
        stay=False,
        method=CollectionMethod.API,
        rest=content,
    )


def read_visit(body: bytes, *, prefix: str, is_json: bool) -> tuple[str, str]:
    """Read what says nothing but where it was submitted: return its language and where the visitor goes on.

    Args:
        body, prefix: as for :func:`read_form`.
        is_json: it is JSON and no form.

    Raises:
        ValueError: it is not such a form, or no such JSON.
        RecursionError: it is nested too deeply.
    """
    text = body.decode("utf-8")
    if is_json:
        content = json.loads(text, object_pairs_hook=_unique)
    else:
        content = _unique(parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=2))
    if not isinstance(content, dict) or not content.keys() <= {"language", "return_to"}:
        raise ValueError("what is sent here has a language and an address to come back to")
    language, return_to = content.get("language", ""), content.get("return_to", "/")
    if not isinstance(language, str) or not isinstance(return_to, str):
        raise ValueError("language and return_to are strings")
    return language, local_address(return_to, prefix=prefix)


def local_address(address: str, *, prefix: str) -> str:
    """Return ``address`` if it is a page of this site, else the front page: nobody is sent elsewhere."""
    if len(address) > MAX_RETURN_TO or _LOCAL.fullmatch(address) is None:
        return "/"
    path = address.partition("?")[0]
    return "/" if path.startswith(f"{prefix}/") else address


def same_origin(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Tell whether a page of this site made the browser send the request, and no other origin's.

    ``Sec-Fetch-Site`` decides where it is sent; browsers that are too old for it, and pages without HTTPS,
    send ``Origin``. A browser sends one or the other with every POST.
    """
    sites = fields.lines(headers, b"sec-fetch-site")
    if sites:
        return sites == [b"same-origin"]
    # The scheme is left out: behind a proxy that ends TLS, ours is not the one the browser sees.
    origin, host = fields.only(headers, b"origin"), fields.only(headers, b"host")
    found = _ORIGIN.fullmatch(origin) if origin else None
    return found is not None and host is not None and _without_port(found[1]) == _without_port(host)


def _without_port(authority: bytes) -> bytes:
    """Drop a default port, so that ``example.com:443`` is ``example.com``."""
    return authority.lower().removesuffix(b":443").removesuffix(b":80")


def _submission(
    catalog: Catalog,
    prefix: str,
    *,
    action: object,
    categories: Iterable[Category],
    vendors: Mapping[str, bool],
    told: Iterable[object],
    shown: str | None,
    language: str,
    return_to: str,
    stay: bool,
    method: CollectionMethod,
    rest: Mapping[str, object],
) -> Submission:
    if not isinstance(action, str) or action not in _ACTIONS:
        raise ValueError("action is accept, refuse, save, allow, withdraw or opt-out")
    if action == "allow" and (categories or list(vendors.values()) != [True]):
        raise ValueError("allow is for one vendor, and nothing else")
    for one, form in _FORMS.items():
        if method is not CollectionMethod.API and (action == one) is not (method is form):
            raise ValueError(f"{one} is what one form sends, and that sends nothing else")
    if rest:
        raise ValueError(f"there is no field {min(rest)!r:.80}")
    for vendor in vendors:
        known = catalog.vendors.get(vendor)
        if known is None or known.category not in OPTIONAL:
            raise ValueError(f"{vendor!r:.80} is not a vendor that can be chosen")
    return Submission(
        action=action,
        categories=frozenset(categories),
        vendors=vendors,
        told=frozenset(BrowserSignal(str(signal)) for signal in told),
        shown=shown,
        language=language,
        return_to=local_address(return_to, prefix=prefix),
        stay=stay,
        method=method,
    )


def _switched(value: str) -> bool:
    if value not in ("on", "off"):
        raise ValueError("a switch is on or off")
    return value == "on"


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("an answer is true or false")
    return value


def _unique(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is given twice")
    return members
