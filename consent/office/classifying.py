"""Saying who a third party is: as a proposal for the policy file, or at once where the policy lets the office.

The policy's ``office.classified`` names a file of its own, which is read with the policy. The office adds to that file
and to no other; it is written whole or not at all, and only after the policy was read with it once. It takes effect
when the site starts the next time.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from consent.catalog import Catalog, Vendor, load_catalog, parse_vendors
from consent.categories import Category
from consent.errors import ConfigurationError
from consent.office.questions import WrongQuestion
from consent.policy_file import load_policy
from consent.whole_file import write_whole

MEMBERS: Final = ("id", "name", "company", "country", "privacy", "category", "about", "hosts")
"""What is said of a vendor that the catalog does not know."""
MAX_HOSTS: Final = 50
MAX_TEXT: Final = 300
_ID: Final = "[a-z0-9-]{1,60}"
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")
_LINE: Final = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_TEXT,
    "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]*$",
}
SAID: Final[Mapping[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["id"],
    "properties": {
        **dict.fromkeys(MEMBERS, _LINE),
        "id": {"type": "string", "pattern": f"^{_ID}$"},
        "category": {"type": "string", "enum": list(map(str, Category))},
        "hosts": {"type": "array", "items": _LINE, "minItems": 1, "maxItems": MAX_HOSTS},
    },
}
"""The schema of what is said of a third party."""
_HEADING: Final = """\
# What the privacy office classified. It is read with the policy, whose [office] names it. What is to be said otherwise,
# say in the policy file: a [[vendor]] there wins over the one here.
"""


@dataclass(frozen=True, slots=True)
class Classification:
    """What is to be said of a third party."""

    vendor_id: str
    """Of a vendor that the catalog knows and that visitors are to be told of; or of a new one."""
    toml: str
    """The ``[[vendor]]`` table of a new one; empty: the catalog knows it."""
    category: str


class NotTaken(Exception):
    """What is said cannot be said of a vendor, or the policy does not take it over; the message says why."""


def classification(said: Mapping[str, Any], catalog: Catalog) -> Classification:
    """Read what is said of a third party: the ``id`` of a vendor that the catalog knows, or all :data:`MEMBERS`.

    Raises:
        WrongQuestion: it is not what :data:`SAID` describes.
        NotTaken: it is, and nobody can be told that of a vendor; the message says why.
    """
    _require_form(said)
    vendor_id = said["id"]
    if said.keys() == {"id"}:
        known = catalog.vendors.get(vendor_id)
        if known is None or known.listed_by:
            raise NotTaken("id: the catalog has no such vendor: say who it is")
        return Classification(vendor_id, "", str(known.category))
    if vendor_id in catalog.vendors:
        raise NotTaken("id: the catalog has a vendor with this id: choose another one, or give the id alone")
    table = {name: said[name] for name in MEMBERS if name in said}
    for name, value in table.items():
        if not all(text.isprintable() for text in (value if isinstance(value, list) else [value])):
            raise NotTaken(f"{name}: nothing that cannot be printed")
    try:
        (vendor,) = parse_vendors({"vendor": [table]}, "this")
        catalog.with_vendors([vendor])
    except ConfigurationError as error:
        raise NotTaken(f"{(error.key or 'vendor').rpartition('.')[2][:40]}: {error.message}") from None
    for host in vendor.hosts:
        found = catalog.match_url(host, "/")
        if found is not None and not found.vendor.listed_by:
            raise NotTaken(f"hosts: {host} is {found.vendor.name}'s, by the catalog: leave it out")
    return Classification(vendor.id, _table(table), str(vendor.category))


def _require_form(said: Mapping[str, Any]) -> None:
    if not said.keys() <= set(MEMBERS):
        # Without its name: JSON's escapes can write what no answer can.
        raise WrongQuestion("body", f"it may have {', '.join(MEMBERS)}, and nothing else")
    if "id" not in said:
        raise WrongQuestion("id", "missing: say which vendor it is")
    hosts = said.get("hosts", [""])
    if not (isinstance(hosts, list) and 1 <= len(hosts) <= MAX_HOSTS):
        raise WrongQuestion("hosts", f"a list of 1 to {MAX_HOSTS} hosts")
    for name, value in said.items():
        for text in value if name == "hosts" else [value]:
            if not isinstance(text, str) or not 1 <= len(text) <= MAX_TEXT or _CONTROL.search(text):
                raise WrongQuestion(name, f"text in one line, of 1 to {MAX_TEXT} characters")
    if re.fullmatch(_ID, said["id"]) is None:
        raise WrongQuestion("id", "lower-case letters, digits and hyphens, at most 60")
    if said.get("category", "functional") not in list(Category):
        raise WrongQuestion("category", f"one of {', '.join(Category)}")


def proposal(said: Classification) -> str:
    """Return what is to be added to a policy file."""
    if said.toml:
        return said.toml
    return f'# Add it to declare in the policy file:\n# declare = ["…", {_quoted(said.vendor_id)}]\n'


def take_over(policy: Path, classified: Path, said: Classification) -> None:
    """Add to the file that the policy names. Blocks.

    Args:
        policy: the policy file.
        classified: the file that its ``office.classified`` names.
        said: what is added.

    Raises:
        NotTaken: the policy cannot be read with it, or the file not be written. Nothing was changed.
    """
    with _turn(classified.parent):
        declared, tables = _present(classified)
        if said.toml:
            tables.append(said.toml)
        elif said.vendor_id not in declared:
            declared.append(said.vendor_id)
        lines = "".join(f"  {_quoted(vendor_id)},\n" for vendor_id in declared)
        text = f"{_HEADING}declare = [\n{lines}]\n\n" + "\n".join(tables)
        candidate = classified.with_name(f".{classified.name[:100]}.candidate")
        try:
            write_whole(candidate, text)
            # What was there before was fine: what is wrong now is wrong in what is added.
            read, _ = load_policy(policy, load_catalog(), classified=candidate)
            if said.vendor_id not in {vendor.id for vendor in read.vendors}:
                raise NotTaken("the policy does not read the file: it names another one by now")
            write_whole(classified, text)
        except ConfigurationError as error:
            raise NotTaken(f"the policy cannot be read with it: {error.message}") from None
        except OSError as error:
            raise NotTaken(f"{classified.name} cannot be written: {error.strerror}") from None
        finally:
            candidate.unlink(missing_ok=True)


def waiting(classified: Path, declared: Sequence[Vendor]) -> list[str]:
    """Return the ids that were taken over and that the running site does not tell visitors of yet."""
    try:
        data = tomllib.loads(classified.read_text("utf-8"))
    except (OSError, ValueError):
        return []
    told = {vendor.id for vendor in declared}
    ids = [*data.get("declare", []), *(table.get("id") for table in data.get("vendor", []))]
    return [vendor_id for vendor_id in ids if isinstance(vendor_id, str) and vendor_id not in told]


@contextlib.contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Let one after the other read the file and write it, whatever the process."""
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NotTaken(f"the folder of the policy cannot be used: {error.strerror}") from None
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def _present(classified: Path) -> tuple[list[str], list[str]]:
    """Return the ids and the tables that are in the file; it is ours, and was read when the site started."""
    try:
        data = tomllib.loads(classified.read_text("utf-8"))
    except FileNotFoundError:
        return [], []
    except (OSError, ValueError):
        raise NotTaken(
            f"{classified.name} cannot be read: it was changed by hand; put it right first"
        ) from None
    for table in data.get("vendor", []):
        if not isinstance(table, dict) or not table.keys() <= set(MEMBERS):
            raise NotTaken(
                f"{classified.name} has more in it than the office writes: move that into the policy file first"
            )
    return list(data.get("declare", [])), [_table(table) for table in data.get("vendor", [])]


def _table(members: Mapping[str, Any]) -> str:
    lines = [
        f"{name} = [{', '.join(map(_quoted, value))}]"
        if isinstance(value, list)
        else f"{name} = {_quoted(value)}"
        for name, value in members.items()
    ]
    return "\n".join(["[[vendor]]", *lines, ""])


def _quoted(text: str) -> str:
    # A basic string of TOML: as in JSON, and nothing that cannot be printed gets here.
    return json.dumps(text, ensure_ascii=False)
