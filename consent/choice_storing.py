"""The fields that put a choice into a browser: the signed cookie, the readable one beside it, and what they replace."""

from __future__ import annotations

from collections.abc import Sequence

from consent import headers as fields
from consent.choice import Choice
from consent.choice_cookie import ChoiceCookie
from consent.variant_cookie import VariantCookie


def storing(
    choice: Choice,
    cookie: ChoiceCookie,
    companion: VariantCookie | None,
    headers: Sequence[tuple[bytes, bytes]],
    *,
    secure: bool,
    now: int,
) -> Sequence[bytes]:
    """Return the ``Set-Cookie`` values that store ``choice`` in place of whatever is stored.

    Args:
        choice: What to store.
        cookie, companion: As for :class:`consent.visitor.VisitorEndpoints`.
        headers: The request's.
        secure: Whether the site is served over HTTPS.
        now: Seconds since 1970-01-01T00:00:00Z.

    Raises:
        UnwritableChoiceError: it cannot be put into a cookie.
    """
    host = fields.host_name(fields.only(headers, b"host") or b"")
    stored = cookie.header(choice, secure=secure, now=now, host=host)
    told = [companion.header(choice, secure=secure, now=now, host=host, beside=stored)] if companion else []
    names = [cookie.name, companion.name] if companion else [cookie.name]
    replaced = cookie.deletions(headers, names, secure=secure, host=host, stays=True)
    taken = cookie.deletions(headers, [cookie.taken_name], secure=secure, host=host)
    return [*replaced, *taken, stored, *told]
