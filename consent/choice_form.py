"""The one form in which a choice is written down: canonical JSON, in the cookie and on its way to another site.

Whatever differs from it in a single bit is not read.
"""

from __future__ import annotations

import hashlib
import json
import re
from types import MappingProxyType
from uuid import UUID

from itsdangerous import BadData
from itsdangerous.encoding import base64_decode, base64_encode

from consent.categories import OPTIONAL
from consent.choice import POLICY_VERSION, RECEIPT_ID, SUBJECT, VENDOR_ID, BrowserSignal, Choice
from consent.errors import ConsentError

_CATEGORY_LETTERS = {category.value[0]: category for category in OPTIONAL}
_SIGNAL_LETTERS = {signal.value[0]: signal for signal in BrowserSignal}


class UnwritableChoiceError(ConsentError, ValueError):
    """A choice cannot be put into a cookie: a field has the wrong form, or there are too many exceptions."""


def written_choice(choice: Choice) -> bytes:
    """Return the canonical form of ``choice``, without a signature.

    Raises:
        UnwritableChoiceError: the choice would not be read back.
    """
    return encoded(choice)


def read_choice(text: bytes) -> Choice | None:
    """Read what :func:`written_choice` wrote; ``None`` for anything else."""
    found = decoded(base64_encode(text))
    return found[0] if found and not found[1] else None


def id_after(kept: Choice) -> str:
    """Return the receipt id for what is left of the choice whose receipt id ``kept`` still has: always the same one."""
    return str(UUID(bytes=hashlib.sha256(b"asgi-consent taken 1:" + encoded(kept)).digest()[:16], version=4))


def rank(choice: Choice) -> tuple[int, int, int, bytes]:
    """Order choices: later first, then the one that grants less; the rest only makes the order total."""
    exceptions = sum(1 if allowed else -1 for allowed in choice.vendors.values())
    return choice.made_at, -len(choice.granted), -exceptions, encoded(choice)


def encoded(choice: Choice, of: str = "") -> bytes:
    """Write the one canonical form of ``choice``, and of which receipt's choice it is what is left.

    Raises:
        UnwritableChoiceError: a field does not have the form that :class:`Choice` describes.
    """
    _require(RECEIPT_ID, "receipt_id", choice.receipt_id, "a UUID4 in lower case")
    _require(SUBJECT, "subject", choice.subject, "32 lower-case hexadecimal digits")
    _require(POLICY_VERSION, "policy_version", choice.policy_version, "12 lower-case hexadecimal digits")
    for vendor in choice.vendors:
        _require(VENDOR_ID, "vendors", vendor, "ids of lower-case letters, digits and hyphens, at most 64")
    if of:
        _require(RECEIPT_ID, "of", of, "a UUID4 in lower case")
    made_at = choice.made_at
    if type(made_at) is not int or not 0 < made_at < 1 << 40:
        raise UnwritableChoiceError(f"made_at must be whole seconds since 1970, not {made_at!r}")
    if not choice.granted <= frozenset(OPTIONAL):
        raise UnwritableChoiceError("granted must name optional categories only: the others are always on")
    taken = "".join(letter for letter, name in _SIGNAL_LETTERS.items() if name in choice.taken_back)
    content = {
        "allow": " ".join(sorted(vendor for vendor, allowed in choice.vendors.items() if allowed)),
        "at": made_at,
        "deny": " ".join(sorted(vendor for vendor, allowed in choice.vendors.items() if not allowed)),
        "grant": "".join(letter for letter, name in _CATEGORY_LETTERS.items() if name in choice.granted),
        "policy": choice.policy_version,
        "receipt": choice.receipt_id,
        "subject": choice.subject,
        "told": "".join(letter for letter, name in _SIGNAL_LETTERS.items() if name in choice.told),
        **({"taken": taken} if taken else {}),
        **({"of": of} if of else {}),
        **({"http": True} if choice.over_http else {}),
    }
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def _require(form: re.Pattern[str], field: str, value: object, description: str) -> None:
    if not isinstance(value, str) or form.fullmatch(value) is None:
        raise UnwritableChoiceError(f"{field} must be {description}, not {str(value)[:80]!r}")


def decoded(payload: bytes) -> tuple[Choice, str] | None:
    """Read what :func:`encoded` wrote, in Base64; ``None`` for anything else, however well signed."""
    try:
        text = base64_decode(payload)
        content = json.loads(text)
        vendors = dict.fromkeys(content["allow"].split(), True)
        vendors |= dict.fromkeys(content["deny"].split(), False)
        choice = Choice(
            receipt_id=content["receipt"],
            subject=content["subject"],
            made_at=content["at"],
            policy_version=content["policy"],
            granted=frozenset(_CATEGORY_LETTERS[letter] for letter in content["grant"]),
            vendors=MappingProxyType(vendors),
            told=frozenset(_SIGNAL_LETTERS[letter] for letter in content["told"]),
            taken_back=frozenset(_SIGNAL_LETTERS[letter] for letter in content.get("taken", "")),
            over_http=content.get("http", False),
        )
        # Writing it again checks every field's form, and that there is nothing else and no second spelling.
        of = content.get("of", "")
        canonical = encoded(choice, of)
    except (BadData, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return (choice, of) if canonical == text and base64_encode(canonical) == payload else None
