"""The fields that put a choice into a browser: the signed cookie, the readable one beside it, and what they replace."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.types import Scope

from consent import headers as fields
from consent.catalog import Catalog
from consent.choice import Choice
from consent.choice_cookie import ChoiceCookie
from consent.cookie_expiry import expire_refused_cookies, refused_cookies
from consent.decision import Decision
from consent.request_fields import is_secure
from consent.variant_cookie import VariantCookie


class ChoiceStoring:
    """Makes them. Immutable, and safe to share between threads.

    Args:
        catalog, cookie, companion, clock: as for :class:`consent.visitor.VisitorEndpoints`.
    """

    def __init__(
        self,
        catalog: Catalog,
        cookie: ChoiceCookie,
        companion: VariantCookie | None,
        clock: Callable[[], float],
    ) -> None:
        self._catalog = catalog
        self._cookie = cookie
        self._companion = companion
        self._clock = clock

    def lines(self, choice: Choice, after: Decision, scope: Scope, *, return_to: str) -> Sequence[bytes]:
        """Return the ``Set-Cookie`` values that store ``choice`` in place of whatever is stored.

        And those that delete what came with the request and is refused from now on.

        Args:
            choice: What to store.
            after: What is allowed under it.
            scope: The request's.
            return_to: Path and query of the page that the visitor chose on.

        Raises:
            UnwritableChoiceError: it cannot be put into a cookie.
        """
        headers: fields.Headers = scope["headers"]
        secure, now = is_secure(scope), int(self._clock())
        host = fields.host_name(fields.only(headers, b"host") or b"")
        cookie, companion = self._cookie, self._companion
        stored = cookie.header(choice, secure=secure, now=now, host=host)
        told = (
            [companion.header(choice, secure=secure, now=now, host=host, beside=stored)] if companion else []
        )
        names = [cookie.name, companion.name] if companion else [cookie.name]
        replaced = cookie.deletions(headers, names, secure=secure, host=host, stays=True)
        beside = cookie.deletions(headers, cookie.names_beside(headers), secure=secure, host=host)
        mark = cookie.mark_header(choice, secure=secure, now=now, host=host)
        refuses = refused_cookies(self._catalog, after, ours=cookie.name)
        expiries = expire_refused_cookies(headers, refuses, return_to=return_to, secure=secure)
        return [*replaced, *beside, stored, *([mark] if mark else []), *told, *expiries]
