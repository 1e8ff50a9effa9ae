"""The two cache modes in which a page may be given to more than one visitor, and what they ask of a response.

In ``variant``, a cache in front keeps one page for each of the few answers that visitors can have, under a key
that it makes of what the browser sends. The key is believed only where it is that of the decision made here.
In ``uniform``, there is one page for everybody, in which nothing optional is allowed; the guard does the rest.

In both, what is for one visitor is for nobody else: cookies, nonces, redirects that depend on who asks. A page
is a piece of one by what it is, not by who asks for it, since the cache does not tell those apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from email.utils import parsedate_to_datetime
from functools import cached_property

from starlette.types import Message

from consent import headers as fields
from consent.decision import Decision, decide
from consent.enforcement import PageEnforcement
from consent.governed_fields import governed
from consent.policy import CacheMode, Policy, Regime
from consent.response import GovernedResponse
from consent.signals import Signals
from consent.variant_cookie import KEY_HEADER

# A browser keeps one page for all its answers, so it has to ask again each time.
_NOT_FOR_BROWSERS = frozenset(
    (b"max-age", b"s-maxage", b"immutable", b"stale-while-revalidate", b"stale-if-error")
)
# RFC 9111, section 3.5: what lets a shared cache keep the answer to a request with Authorization.
_PUBLIC = frozenset((b"public", b"s-maxage", b"must-revalidate"))
_NOT_SHARED = frozenset((b"private", b"no-store"))
_POLICIES = (b"content-security-policy", b"content-security-policy-report-only")


def _keyed(directives: list[bytes]) -> list[bytes]:
    ages = {fields.directive(text): text.partition(b"=")[2].strip(b' "') for text in reversed(directives)}
    age = ages.get(b"s-maxage", ages.get(b"max-age"))
    kept = [text for text in directives if fields.directive(text) not in _NOT_FOR_BROWSERS]
    return kept if age is None else [*kept, b"max-age=0", b"s-maxage=" + age]


BY_VARIANT = fields.Caching((b"Consent-Variant", b"Sec-Fetch-Dest"), True, _keyed)
"""A shared cache keeps it, for those with the same answers."""
BY_ALL = fields.Caching((), True, lambda directives: directives)
"""Every cache keeps it as long as the app says."""


class _SharedResponse(GovernedResponse):
    """What both modes ask of a response."""

    _has_editions = False
    _expires_cookies = False
    _sets_cookie = False

    @cached_property
    def _own_judge(self) -> PageEnforcement:
        """Judges what is for this visitor only."""
        return self._judge(self.request.ruling.own)

    def _governed(self, headers: fields.Headers) -> fields.Headers:
        self._sets_cookie |= any(key.lower() == b"set-cookie" for key, _ in headers)
        return governed(headers, self._enforcement(), now=self.request.now, cookies=self._own_judge)

    def _redirect(self, headers: fields.Headers, location: str) -> tuple[fields.Headers, bool]:
        # Whoever asks: the cache would give it to everybody.
        refused = self._own_judge.refuses_url("redirect", location)
        if self._own_judge.decided:
            headers = fields.personal(headers, names=fields.REDIRECT_DECIDING_FIELDS)
        return headers, refused and self.request.is_loaded

    def _passing(self, message: Message) -> Message:
        if not self._sets_cookie and not self._depends(message["status"]):
            return message
        return {**message, "headers": fields.personal(list(message["headers"]))}

    def _depends(self, status: int) -> bool:
        """Tell whether what is no page depends on the visitor all the same."""
        return False

    def _may_be_fragment(self) -> bool:
        return True

    def _is_personal(self, headers: fields.Headers) -> bool:
        directives = {fields.directive(text) for text in fields.directives(headers)}
        return (
            self._sets_cookie
            or not _NOT_SHARED.isdisjoint(directives)
            or (b"authorization" in self.request.by_name and _PUBLIC.isdisjoint(directives))
            or any(key.lower() in _POLICIES and b"'nonce-" in value.lower() for key, value in headers)
        )


class VariantResponse(_SharedResponse):
    """A response in the mode ``variant``."""

    def _rewritten(self, headers: fields.Headers) -> fields.Headers:
        if not self._is_misfiled:
            return super()._rewritten(_with_expiry_as_age(headers, now=self.request.now))
        correction = self._site.companion.correction(
            self.request.ruling.own,
            fields.lines(self.request.scope["headers"], b"cookie"),
            secure=self.request.is_secure,
            now=self.request.now,
            host=self.request.url.host,
        )
        rewritten = super()._rewritten(headers)
        return rewritten if correction is None else [*rewritten, (b"set-cookie", correction)]

    def _depends(self, status: int) -> bool:
        return status != 304 and self._enforcement().decided

    def _caching(self, headers: fields.Headers) -> fields.Caching:
        if self._is_misfiled:
            return fields.BY_NOBODY
        asked = KEY_HEADER in self.request.by_name
        return BY_VARIANT if asked and not self._is_personal(headers) else fields.BY_VISITOR

    @cached_property
    def _is_misfiled(self) -> bool:
        """Whether a cache would keep the answer under a key that is not that of the decision."""
        asked = self.request.by_name.get(KEY_HEADER)
        return asked is not None and asked.decode("latin-1") != self._site.companion.key(
            self.request.ruling.own
        )


class UniformResponse(_SharedResponse):
    """A response in the mode ``uniform``.

    Its ruling is by `uniform_decision`. The visitor's own decision is for what nobody else gets. The site's own
    files pass: what is taken out of one, the guard could give back to nobody.
    """

    _judges_files = False
    _tells_missing = False

    def _caching(self, headers: fields.Headers) -> fields.Caching:
        return fields.BY_VISITOR if self._is_personal(headers) else BY_ALL

    def _is_framed(self) -> bool:
        return False

    def _obeys(self) -> bool:
        return True


RESPONSES: Mapping[CacheMode, type[GovernedResponse]] = {
    CacheMode.PER_VISITOR: GovernedResponse,
    CacheMode.VARIANT: VariantResponse,
    CacheMode.UNIFORM: UniformResponse,
}
"""What a response is made of in each mode."""


def _with_expiry_as_age(headers: fields.Headers, *, now: int) -> fields.Headers:
    """Return the fields with ``Expires`` as a ``max-age``, where it counts (RFC 9111, section 4.2.1)."""
    expires = fields.first(headers, b"expires")
    if expires is None:
        return headers
    kept = [(key, value) for key, value in headers if key.lower() != b"expires"]
    if {fields.directive(text) for text in fields.directives(headers)} & {b"max-age", b"s-maxage"}:
        return kept
    try:
        age = int(parsedate_to_datetime(expires.decode("latin-1")).timestamp()) - now
    except (ValueError, OverflowError):
        age = 0  # as the standard has it
    return [*kept, (b"cache-control", b"max-age=%d" % max(0, age))]


def uniform_decision(policy: Policy) -> Decision:
    """Return the decision for the page that everybody gets: nothing optional, and asked as if nobody had chosen."""
    strict = decide(replace(policy, regime=Regime.OPT_IN), Signals())
    # Who sends a signal gets this page, too: what the policy lets through the client gives back to the others.
    return replace(
        strict,
        policy_version=policy.version,
        asks=policy.regime is Regime.OPT_IN,
        let_through=frozenset(),
    )
