"""What a request to the visitor endpoints says, within bounds: its body, its query, who asks, in which language."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from urllib.parse import parse_qsl, unquote

from starlette.types import Receive, Scope

from consent import headers as fields
from consent.answers import Headers, Refused
from consent.banner import Banner
from consent.choice import Choice
from consent.choice_cookie import ChoiceCookie
from consent.decision import Decision, decide
from consent.policy import Policy
from consent.request_fields import is_secure
from consent.signals import ChoiceState, Signals, read_dnt, read_gpc
from consent.submission import MAX_RETURN_TO, same_origin

MAX_BODY_BYTES = 16 * 1024
MAX_QUERY = 2 * MAX_RETURN_TO
"""Characters of a query that are read."""


def network_of(scope: Scope) -> bytes:
    """Return the network of who asks, as far as floods are counted by it: /24, or /48; empty: it is not known.

    That is what one customer has at most (RFC 6177). Behind a proxy, the server has to be told whom it forwards for;
    else all clients are one network.
    """
    client = scope.get("client")
    try:
        address = ipaddress.ip_address(client[0].partition("%")[0] if client else "")
    except ValueError:
        return b""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.packed[: 3 if address.version == 4 else 6]


class VisitorRequests:
    """Reads who asks. Immutable, and safe to share between threads.

    Args:
        policy, banner, cookie, clock: as for :class:`consent.visitor.VisitorEndpoints`.
    """

    def __init__(
        self, policy: Policy, banner: Banner, cookie: ChoiceCookie, clock: Callable[[], float]
    ) -> None:
        self._policy = policy
        self._banner = banner
        self._cookie = cookie
        self._clock = clock

    def signals(self, scope: Scope) -> Signals:
        """Return what a request says."""
        headers: Headers = scope["headers"]
        choice, state, _ = self._cookie.read(
            headers,
            now=int(self._clock()),
            policy_version=self._policy.version,
            secure=is_secure(scope),
        )
        return Signals(choice=choice, choice_state=state, gpc=read_gpc(headers), dnt=read_dnt(headers))

    def subjects(self, headers: Headers) -> Sequence[str]:
        """Return the pseudonyms that a request shows to be its visitor's; see :meth:`ChoiceCookie.subjects`."""
        return self._cookie.subjects(headers, now=int(self._clock()))

    def decide(self, signals: Signals) -> Decision:
        """Return what is allowed to somebody who says that."""
        return decide(self._policy, signals)

    def decide_after(self, choice: Choice, signals: Signals) -> Decision:
        """Return what is allowed to them once they have made ``choice``."""
        return decide(self._policy, replace(signals, choice=choice, choice_state=ChoiceState.VALID))

    def speaking(self, headers: Headers, address: str, language: str = "") -> Banner:
        """Return what speaks the visitor's language.

        Args:
            address: Path and query of the page that it is about.
            language: What the request says that the visitor was spoken to in, if that is one of the site's.
        """
        languages = self._banner.languages
        if language not in languages.offered:
            asked = b", ".join(fields.lines(headers, b"accept-language"))
            language = languages.choose(unquote(address.partition("?")[0]), asked)
        return self._banner.in_language(language)


def query_of(scope: Scope) -> Mapping[str, str]:
    """Return the parameters of a page's query; none where there are too many."""
    query = scope.get("query_string", b"")[:MAX_QUERY].decode("latin-1")
    try:
        return dict(parse_qsl(query, keep_blank_values=True, max_num_fields=20))
    except ValueError:
        return {}


async def read_submitted(
    headers: Headers, receive: Receive, media_types: Collection[bytes], *, max_bytes: int = MAX_BODY_BYTES
) -> tuple[bytes, bytes] | None:
    """Return what a page of this site submits: its media type and the body; ``None`` if the browser went away.

    Raises:
        Refused: it is another origin's, or nothing of ``media_types``, or too large.
    """
    if not same_origin(headers):
        raise Refused(403, "cross-origin", "error_cross_origin")
    media_type = fields.media_type_of(fields.only(headers, b"content-type") or b"")
    if media_type not in media_types:
        raise Refused(415, "unsupported-media-type", "error_media_type")
    body = await read_body(headers, receive, max_bytes=max_bytes)
    return None if body is None else (media_type, body)


async def read_body(headers: Headers, receive: Receive, *, max_bytes: int = MAX_BODY_BYTES) -> bytes | None:
    """Return the request's body; ``None`` if the browser went away before all of it was there.

    Raises:
        Refused: it is too large.
    """
    too_large = Refused(413, "too-large", "error_too_large", ((b"connection", b"close"),))
    declared = fields.only(headers, b"content-length")
    if declared is not None and declared.isdigit() and (len(declared) > 9 or int(declared) > max_bytes):
        raise too_large
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > max_bytes:
            raise too_large
        if not message.get("more_body", False):
            return bytes(body)
